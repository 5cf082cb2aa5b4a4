// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <string>
#include <string_view>

namespace amp4ec::cli {

/// Standard output as a live picture: on a terminal each text takes the place of the one before, cut to the window;
/// elsewhere they follow one another.
class Screen {
 public:
  Screen();
  ~Screen();  ///< Gives the cursor back.
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  /// @error SystemCall when nobody takes it.
  Result<void> show(std::string_view text);

 private:
  bool is_terminal_;
  bool drawn_ = false;
};

/// The text without what a terminal would act on, and without what takes no place or several: names of other people's.
std::string plain(std::string_view text);

/// The text in lines of a window: at most `rows` - 1 lines, each at most `columns` wide, each wiping the rest of its
/// line. @pre plain text of lines that end with a newline.
std::string fit_to_window(std::string_view text, std::size_t columns, std::size_t rows);

}  // namespace amp4ec::cli
