// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/model/segment.hpp>

#include "model/graph_walk.hpp"
#include "model/lowering.hpp"
#include "model/typed_value.hpp"

#include <amp4ec/ipc/file_size_guard.hpp>

#include <fmt/format.h>

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/serialization/export.h>

#include <cerrno>
#include <exception>
#include <fstream>
#include <string_view>
#include <system_error>

namespace amp4ec {

namespace jit = torch::jit;

namespace {

std::uint64_t weight_bytes(const jit::Module& module) {
  std::uint64_t bytes = detail::tensor_bytes(module._ivalue());
  detail::for_each_node(*module.get_method("forward").graph()->block(), [&](jit::Node* node) {
    if (node->kind() == c10::prim::Constant)
      bytes += detail::tensor_bytes(jit::toIValue(node->output()).value_or(c10::IValue()));
  });
  return bytes;
}

/// Writes the module's archive piece by piece. Throws what LibTorch and `sink` throw.
template <class Sink>
void write(const jit::Module& module, const Sink& sink) {
  // LibTorch's writer goes on in its destructor, where nothing may throw.
  std::exception_ptr thrown;
  jit::ExportModule(module, [&](const void* data, std::size_t size) {
    try {
      if (!thrown) sink(std::string_view(static_cast<const char*>(data), size));
    } catch (...) {
      thrown = std::current_exception();
    }
    return size;
  });
  if (thrown) std::rethrow_exception(thrown);
}

/// Throws std::system_error when the last operation on a file failed.
void check(const std::ostream& file) {
  if (!file) throw std::system_error(errno != 0 ? errno : EIO, std::generic_category());
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
  const std::uint64_t weights = weight_bytes(*module_);
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
  std::error_code ignored;
  const ipc::FileSizeGuard guard;
  try {
    errno = 0;
    std::ofstream out(part, std::ios::binary | std::ios::trunc);
    check(out);
    write(*module_, [&](std::string_view piece) {
      errno = 0;
      check(out.write(piece.data(), static_cast<std::streamsize>(piece.size())));
    });
    errno = 0;
    out.close();
    check(out);
    std::filesystem::rename(part, file);
    return {};
  } catch (const std::system_error& error) {
    std::filesystem::remove(part, ignored);
    return Error{Errc::SystemCall, fmt::format("cannot write '{}': {}", file.string(), error.code().message())};
  } catch (const std::exception& exception) {
    std::filesystem::remove(part, ignored);
    return cannot_save(*this, exception);
  }
}

}  // namespace amp4ec
