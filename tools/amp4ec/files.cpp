// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include "zoo/atomic_file.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>

namespace amp4ec::cli {

namespace fs = std::filesystem;

Result<std::string> read_file(const fs::path& file) {
  std::error_code failed;
  if (fs::is_directory(file, failed)) {
    return Error{Errc::FileNotFound, fmt::format("'{}' is a folder, not a file", file.string())};
  }
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::string text;
  std::array<char, 1 << 16> block{};
  while (in.read(block.data(), block.size()) || in.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(in.gcount()));
  }
  if (in.is_open() && !in.bad()) return text;
  return Error{Errc::FileNotFound,
               fmt::format("cannot read '{}': {}", file.string(), std::generic_category().message(errno))};
}

Result<void> check_output(const fs::path& file) {
  const auto refuse = [&](std::string_view why) {
    return Error{Errc::SystemCall, fmt::format("cannot write '{}': {}", file.string(), why)};
  };
  std::error_code failed;
  if (file.empty()) return refuse("the name is empty; give a file");
  if (fs::exists(file, failed) && !fs::is_regular_file(file, failed))
    return refuse("it is not a plain file; give another name");
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, failed))
    return refuse(fmt::format("there is no folder '{}'; create it first", folder.string()));
  if (::access(folder.c_str(), W_OK) != 0) {
    return refuse(fmt::format("folder '{}': {}", folder.string(), std::generic_category().message(errno)));
  }
  return {};
}

Result<void> write_file(const fs::path& file, std::string_view text) {
  if (auto checked = check_output(file); !checked) return checked;
  auto output = zoo::AtomicFile::open(file);
  if (!output) return output.error();
  output->write(text.data(), text.size());
  return output->commit();
}

}  // namespace amp4ec::cli
