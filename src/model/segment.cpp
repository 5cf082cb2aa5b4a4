// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/model/segment.hpp>

#include "model/lowering.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>

namespace amp4ec {

std::size_t Segment::input_count() const {
  return module_->get_method("forward").num_inputs() - 1;  // without `self`
}

Result<std::string> Segment::archive() const try {
  std::ostringstream bytes;
  module_->save(bytes);
  return std::move(bytes).str();
} catch (const std::exception& exception) {
  return Error{Errc::ExecutionFailed, fmt::format("LibTorch cannot save layers {}-{}: {}", first_layer_, last_layer_,
                                                  detail::first_line(exception))};
}

Result<void> Segment::save(const std::filesystem::path& file) const {
  auto bytes = archive();
  if (!bytes) return bytes.error();
  std::error_code unknown;
  if (std::filesystem::exists(file, unknown) && !std::filesystem::is_regular_file(file, unknown)) {
    // Renaming would put a file in the place of a device or a pipe.
    return Error{Errc::SystemCall, fmt::format("cannot write '{}': it is not a plain file", file.string())};
  }
  const std::filesystem::path part = file.string() + ".part";
  errno = 0;
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  out.write(bytes->data(), static_cast<std::streamsize>(bytes->size()));
  out.close();
  std::error_code renamed;
  if (out) std::filesystem::rename(part, file, renamed);
  if (out && !renamed) return {};
  const std::string why = renamed ? renamed.message() : std::strerror(errno);
  std::error_code ignored;
  std::filesystem::remove(part, ignored);
  return Error{Errc::SystemCall, fmt::format("cannot write '{}': {}", file.string(), why)};
}

}  // namespace amp4ec
