// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/model/operator_library.hpp>

#include <fmt/format.h>

#include <dlfcn.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <system_error>

namespace amp4ec {

namespace {

struct Loaded {
  std::mutex mutex;
  std::vector<std::filesystem::path> files;
};

Loaded& loaded() {
  static Loaded libraries;
  return libraries;
}

}  // namespace

Result<void> load_operator_library(const std::filesystem::path& file) try {
  std::error_code failed;
  const auto path = std::filesystem::absolute(file, failed);  // A bare name would be searched for in system folders.
  if (failed || !std::filesystem::is_regular_file(path, failed)) {
    return Error{Errc::FileNotFound, fmt::format("there is no operator library '{}'", file.string())};
  }
  // Never closed: LibTorch keeps pointers to its operators.
  if (::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) {
    const std::lock_guard lock(loaded().mutex);
    auto& files = loaded().files;
    if (std::find(files.begin(), files.end(), path) == files.end()) files.push_back(path);
    return {};
  }
  const char* why = ::dlerror();
  return Error{Errc::NotSupported, fmt::format("cannot load the operator library '{}': {}", file.string(),
                                               why == nullptr ? "unknown reason" : why)};
} catch (const std::exception& exception) {
  return Error{Errc::NotSupported,
               fmt::format("the operator library '{}' cannot register: {}", file.string(), exception.what())};
}

std::vector<std::filesystem::path> loaded_operator_libraries() {
  const std::lock_guard lock(loaded().mutex);
  return loaded().files;
}

}  // namespace amp4ec
