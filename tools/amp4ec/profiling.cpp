// SPDX-License-Identifier: Apache-2.0
#include "profiling.hpp"

#include "files.hpp"
#include "planning.hpp"
#include "progress.hpp"

#include <amp4ec/plan/profile_json.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <thread>

namespace amp4ec::cli {
namespace {

Result<Profile> read_profile_of(const Subject& subject, const std::string& file) {
  auto profile = load_profile(file);
  if (!profile) return profile;
  if (profile->graph.model_hash == subject.model.hash()) return profile;
  return Error{Errc::ProfileInvalid,
               fmt::format("profile '{}' belongs to model {}, this is model {}; delete the file or name another", file,
                           profile->graph.model_hash, subject.model.hash())};
}

}  // namespace

Result<Profile> measure_profile(const Subject& subject, Form form) {
  const Cpus all{static_cast<double>(std::max(1U, std::thread::hardware_concurrency()))};
  auto runtime = Runtime::create({{"profile", all, Bytes{}}});
  if (!runtime) return runtime.error();
  Progress progress("measuring");
  ProfileOptions options;
  options.form = form;
  options.progress = [&](std::size_t done, std::size_t total) { progress.update(done, total); };
  return runtime->profile(subject.model, subject.inputs.example(), options);
}

Result<Profile> load_or_measure_profile(const Subject& subject, Form form, const std::string& file) {
  std::error_code ignored;
  if (file.empty()) return measure_profile(subject, form);
  if (std::filesystem::exists(file, ignored)) return read_profile_of(subject, file);
  if (const auto writable = check_output(file); !writable) return writable.error();
  auto profile = measure_profile(subject, form);
  if (!profile) return profile;
  if (const auto written = write_file(file, write_profile(*profile)); !written) return written.error();
  return profile;
}

}  // namespace amp4ec::cli
