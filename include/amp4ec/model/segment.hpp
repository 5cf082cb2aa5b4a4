// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

namespace torch::jit {
struct Module;
}

namespace amp4ec {

/// Layers first..last of a model as a TorchScript module of its own: it holds only the constants that it uses, and
/// plain LibTorch and Python's `torch.jit.load` load and run it. `forward` takes the values that cross the cut before
/// it, one argument each, and returns those that cross the cut after it: the value itself if it is one, else a tuple in
/// the order of the next segment's arguments. The last segment returns what the model returns. A shared handle;
/// immutable, hence thread-safe.
class Segment {
 public:
  Segment(std::shared_ptr<const torch::jit::Module> module, std::size_t first_layer, std::size_t last_layer,
          std::size_t output_count, std::string hash)
      : module_(std::move(module)),
        first_layer_(first_layer),
        last_layer_(last_layer),
        output_count_(output_count),
        hash_(std::move(hash)) {}

  [[nodiscard]] std::size_t first_layer() const noexcept { return first_layer_; }
  [[nodiscard]] std::size_t last_layer() const noexcept { return last_layer_; }
  /// How many values `forward` takes.
  [[nodiscard]] std::size_t input_count() const;
  /// How many values `forward` returns; more than one means that it returns them as a tuple.
  [[nodiscard]] std::size_t output_count() const noexcept { return output_count_; }
  /// Content hash: segments of the same layers of models with the same hash have the same.
  [[nodiscard]] const std::string& hash() const noexcept { return hash_; }
  [[nodiscard]] const torch::jit::Module& module() const noexcept { return *module_; }

  /// The module as the bytes of a TorchScript archive. Blocking. @error ExecutionFailed when LibTorch cannot write it.
  [[nodiscard]] Result<std::string> archive() const;
  /// Writes the archive beside `file` and renames it, so that `file` is whole or absent. @error SystemCall.
  [[nodiscard]] Result<void> save(const std::filesystem::path& file) const;

 private:
  std::shared_ptr<const torch::jit::Module> module_;
  std::size_t first_layer_;
  std::size_t last_layer_;
  std::size_t output_count_;
  std::string hash_;
};

}  // namespace amp4ec
