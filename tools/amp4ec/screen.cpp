// SPDX-License-Identifier: Apache-2.0
#include "screen.hpp"

#include "output.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstddef>

namespace amp4ec::cli {
namespace {

// ECMA-48 and DEC private modes, which every terminal of today knows.
constexpr std::string_view hide_cursor = "\033[?25l";
constexpr std::string_view show_cursor = "\033[?25h";
constexpr std::string_view clear_screen = "\033[2J";
constexpr std::string_view go_home = "\033[H";
constexpr std::string_view clear_line_right = "\033[K";
constexpr std::string_view clear_below = "\033[J";

}  // namespace

Screen::Screen() : is_terminal_(::isatty(STDOUT_FILENO) == 1) {}

Screen::~Screen() {
  if (drawn_) (void)print(show_cursor);
}

Result<void> Screen::show(std::string_view text) {
  if (!is_terminal_) return print(text);
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0) {
    window.ws_col = 80;
    window.ws_row = 24;
  }
  std::string frame(hide_cursor);
  if (!drawn_) frame += clear_screen;
  frame += go_home;
  frame += fit_to_window(text, window.ws_col, window.ws_row);
  frame += clear_below;
  drawn_ = true;
  return print(frame);
}

std::string plain(std::string_view text) {
  std::string shown(text);
  for (char& c : shown) {
    if (c < ' ' || c > '~') c = '?';
  }
  return shown;
}

std::string fit_to_window(std::string_view text, std::size_t columns, std::size_t rows) {
  std::string fitting;
  for (std::size_t row = 1; row < rows && !text.empty(); ++row) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    fitting += line.substr(0, columns);
    if (line.size() < columns) fitting += clear_line_right;  // behind the last column it would wipe that one
    fitting += '\n';
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return fitting;
}

}  // namespace amp4ec::cli
