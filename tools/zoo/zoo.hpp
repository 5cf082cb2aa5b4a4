// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace torch::jit {
struct Module;  // include <torch/csrc/jit/api/module.h> to hold one
}

namespace amp4ec {

/// A reference model that can be built without Python.
struct ZooEntry {
  std::string name;
  std::string description;
  std::vector<std::string> input_specs;  ///< Shape of each input of `forward`, e.g. "1x3x224x224"; all are float.
};

/// Every model that `make_zoo_model` knows. Thread-safe; the reference stays valid for the life of the process.
const std::vector<ZooEntry>& zoo_entries();

/// Builds a model in evaluation mode, with weights that keep activations at a healthy scale.
///
/// The weights depend only on the name, the seed and the version of LibTorch: neither the global generator nor any
/// other process-wide state is read or changed. Parameters require gradients, as in a module that Python scripted.
/// Blocks for up to a few seconds: batch-norm statistics are measured on a batch of random images. Thread-safe.
/// @error InvalidArgument for an unknown name; the message lists the known ones.
/// @error Internal when LibTorch refuses the model.
Result<torch::jit::Module> make_zoo_model(std::string_view name, std::uint64_t seed);

/// Builds a model and writes it as a TorchScript archive that `torch::jit::load` and Python's `torch.jit.load` read.
///
/// The file appears whole or not at all: it is written beside its destination, synchronised and renamed.
/// @error as `make_zoo_model`; SystemCall when the file cannot be written, with the path and the kernel's reason.
Result<void> save_zoo_model(std::string_view name, std::uint64_t seed, const std::filesystem::path& file);

}  // namespace amp4ec
