// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include <amp4ec/plan/json_text.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

namespace amp4ec::cli {
namespace {

void print_line(std::string_view opening, std::string_view text) {
  std::string line(opening);
  line += text;
  while (line.ends_with('\n')) line.pop_back();
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  fmt::print(stderr, "{}\n", line);
}

}  // namespace

Result<void> print(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return {};
  return Error{Errc::SystemCall,
               fmt::format("cannot write to standard output: {}", std::generic_category().message(errno))};
}

Result<void> print_json(const boost::json::value& value) {
  return print(json_text(value) + "\n");
}

void print_note(std::string_view text) {
  print_line("amp4ec: note: ", text);
}

void print_failure(std::string_view text) {
  print_line("amp4ec: ", text);
}

}  // namespace amp4ec::cli
