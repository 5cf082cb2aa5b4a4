// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/model/segment.hpp>

#include "model/lowering.hpp"
#include "model/typed_value.hpp"

#include <fmt/format.h>

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/serialization/export.h>

#include <cerrno>
#include <fstream>
#include <string_view>
#include <system_error>

namespace amp4ec {

namespace jit = torch::jit;

namespace {

std::uint64_t constant_bytes(const jit::Graph& graph) {
  std::uint64_t bytes = 0;
  for (const jit::Node* node : graph.nodes()) {
    if (node->kind() == c10::prim::Constant)
      bytes += detail::tensor_bytes(jit::toIValue(node->output()).value_or(c10::IValue()));
  }
  return bytes;
}

/// Writes the module's archive piece by piece. Throws what LibTorch and `sink` throw.
template <class Sink>
void write(const jit::Module& module, const Sink& sink) {
  jit::ExportModule(module, [&](const void* data, std::size_t size) {
    sink(std::string_view(static_cast<const char*>(data), size));
    return size;
  });
}

Error cannot_save(const Segment& segment, const std::exception& exception) {
  return Error{Errc::ExecutionFailed, fmt::format("LibTorch cannot save layers {}-{}: {}", segment.first_layer(),
                                                  segment.last_layer(), detail::first_line(exception))};
}

}  // namespace

std::size_t Segment::input_count() const {
  return module_->get_method("forward").num_inputs() - 1;  // without `self`
}

Result<std::string> Segment::archive() const try {
  std::string bytes;
  const std::uint64_t weights = constant_bytes(*module_->get_method("forward").graph());
  // Growing would copy; pages that nobody writes cost nothing. What quantized operators pack is not counted.
  bytes.reserve(weights + weights / 16 + (64U << 20));
  write(*module_, [&](std::string_view piece) { bytes += piece; });
  return bytes;
} catch (const std::exception& exception) {
  return cannot_save(*this, exception);
}

Result<void> Segment::save(const std::filesystem::path& file) const {
  std::error_code unknown;
  if (std::filesystem::exists(file, unknown) && !std::filesystem::is_regular_file(file, unknown)) {
    // Renaming would put a file in the place of a device or a pipe.
    return Error{Errc::SystemCall, fmt::format("cannot write '{}': it is not a plain file", file.string())};
  }
  const std::filesystem::path part = file.string() + ".part";
  std::error_code failed;
  const auto watch = [&](const std::ostream& out) {  // LibTorch goes on writing, and errno changes.
    if (!out && !failed) failed = std::error_code(errno, std::generic_category());
  };
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  watch(out);
  std::error_code ignored;
  try {
    write(*module_, [&](std::string_view piece) { watch(out.write(piece.data(), piece.size())); });
  } catch (const std::exception& exception) {
    std::filesystem::remove(part, ignored);
    return cannot_save(*this, exception);
  }
  out.close();
  watch(out);
  if (!failed) std::filesystem::rename(part, file, failed);
  if (!failed) return {};
  std::filesystem::remove(part, ignored);
  return Error{Errc::SystemCall, fmt::format("cannot write '{}': {}", file.string(), failed.message())};
}

}  // namespace amp4ec
