// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <string_view>
#include <system_error>

namespace amp4ec::ipc::detail {

/// "memfd_create: Too many open files (errno 24)" as Errc::SystemCall. Call it before anything else can change errno.
inline Error system_error(std::string_view call, int number = errno) {
  return Error{Errc::SystemCall,
               fmt::format("{}: {} (errno {})", call, std::generic_category().message(number), number)};
}

}  // namespace amp4ec::ipc::detail
