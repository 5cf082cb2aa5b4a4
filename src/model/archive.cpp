// SPDX-License-Identifier: Apache-2.0
#include "model/archive.hpp"

#include "model/lowering.hpp"

#include <fmt/format.h>

#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace amp4ec::detail {

namespace {

Result<void> check_archive(const std::filesystem::path& file) {
  const auto show = file.string();
  std::error_code failed;
  if (std::filesystem::is_directory(file, failed))
    return Error{Errc::FileNotFound, fmt::format("'{}' is a folder", show)};
  std::ifstream in(file, std::ios::binary);
  if (!in) return Error{Errc::FileNotFound, fmt::format("cannot read '{}': {}", show, std::strerror(errno))};
  char magic[4] = {};
  in.read(magic, sizeof magic);
  if (in.gcount() != sizeof magic || std::string_view(magic, 4) != "PK\x03\x04") {
    return Error{
        Errc::NotTorchScript,
        fmt::format("'{}' is not a TorchScript archive; write one with torch.jit.script or .trace and .save", show)};
  }
  try {
    caffe2::serialize::PyTorchStreamReader reader(show);
    if (reader.hasRecord("constants.pkl")) return {};
    return Error{Errc::NotTorchScript, fmt::format("'{}' holds data but no program, as torch.save writes it; use "
                                                   "torch.jit.script or .trace and .save",
                                                   show)};
  } catch (const std::exception& exception) {
    return Error{Errc::ModelCorrupt, fmt::format("'{}' is damaged: {}", show, first_line(exception))};
  }
}

}  // namespace

Result<torch::jit::Module> load_archive(const std::filesystem::path& file) {
  if (auto checked = check_archive(file); !checked) return checked.error();
  try {
    return torch::jit::load(file.string(), at::Device(at::kCPU));
  } catch (const std::exception& exception) {
    const std::string why = first_line(exception);
    const bool unknown = why.find("Unknown builtin op: ") != std::string::npos;
    const bool own = why.find("op: aten::") != std::string::npos || why.find("op: prim::") != std::string::npos;
    if (unknown && !own) {
      return Error{Errc::ModelRejected, fmt::format("LibTorch cannot load '{}': {} Load the library that registers the "
                                                    "operator first (load_operator_library, --op-library)",
                                                    file.string(), why)};
    }
    return Error{Errc::ModelCorrupt, fmt::format("LibTorch cannot load '{}': {}", file.string(), why)};
  }
}

}  // namespace amp4ec::detail
