// SPDX-License-Identifier: Apache-2.0
#include "profiling.hpp"

#include "files.hpp"
#include "output.hpp"
#include "progress.hpp"

#include <amp4ec/plan/estimate_profile.hpp>
#include <amp4ec/plan/profile_json.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

namespace amp4ec::cli {
namespace {

Result<Profile> read_profile_of(const Subject& subject, const std::string& file) {
  auto profile = load_profile(file);
  if (!profile) return profile;
  if (profile->graph.model_hash == subject.model.hash()) {
    if (profile->estimated || was_measured_here(*profile)) return profile;
    print_note(
        fmt::format("profile '{}' was measured on {} with LibTorch {}: predictions are for those; delete the file "
                    "to measure here",
                    file, profile->cpu, profile->libtorch));
    return profile;
  }
  return Error{Errc::ProfileInvalid,
               fmt::format("profile '{}' belongs to model {}, this is model {}; delete the file or name another", file,
                           profile->graph.model_hash, subject.model.hash())};
}

/// Plans that follow one another settle within a few rounds, or swing between equals.
constexpr int most_rounds = 5;

/// The command's own measurements: no node's limits hold them.
class Measuring {
 public:
  explicit Measuring(const Subject& subject) : subject_(subject) {}

  Result<Profile> profile(Form form) {
    if (auto started = start(); !started) return started.error();
    Progress progress("measuring");
    ProfileOptions options = shown_by(progress);
    options.form = form;
    return runtime_->profile(subject_.model, subject_.inputs.example(), options);
  }

  Result<std::size_t> refine(Profile& profile, const Plan& plan) {
    if (auto started = start(); !started) return started.error();
    Progress progress("measuring the plan");
    return runtime_->refine(profile, subject_.model, subject_.inputs.example(), plan, shown_by(progress));
  }

 private:
  Result<void> start() {
    if (runtime_) return {};
    const Cpus all{static_cast<double>(std::max(1U, std::thread::hardware_concurrency()))};
    auto runtime = Runtime::create({{"profile", all, Bytes{}}});
    if (!runtime) return runtime.error();
    runtime_.emplace(std::move(*runtime));
    return {};
  }

  static ProfileOptions shown_by(Progress& progress) {
    ProfileOptions options;
    options.progress = [&progress](std::size_t done, std::size_t total) { progress.update(done, total); };
    return options;
  }

  const Subject& subject_;
  std::optional<Runtime> runtime_;
};

Result<Planned> plan_from_estimate(const Subject& subject, const PlanMaker& make) {
  Profile profile = estimate_profile(subject.graph);
  auto plan = make(profile);
  if (!plan) return plan.error();
  return Planned{std::move(profile), std::move(*plan)};
}

bool all_measured(const Profile& profile, const Plan& plan) {
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) {
      if (!is_measured(profile, stage.first_layer, stage.last_layer)) return false;
    }
  }
  return true;
}

}  // namespace

Result<Profile> measure_profile(const Subject& subject, Form form) {
  return Measuring(subject).profile(form);
}

Result<Planned> plan_from_profile(const Subject& subject, Form form, const PlanningOptions& options,
                                  const PlanMaker& make) {
  if (options.no_profile) return plan_from_estimate(subject, make);
  const std::string& file = options.profile;
  std::error_code ignored;
  const bool exists = !file.empty() && std::filesystem::exists(file, ignored);
  if (!exists && !file.empty()) {
    if (const auto writable = check_output(file); !writable) return writable.error();
  }
  Measuring measuring(subject);
  auto profile = exists ? read_profile_of(subject, file) : measuring.profile(form);
  if (!profile) return profile.error();
  const auto save = [&]() -> Result<void> {
    return file.empty() ? Result<void>() : write_file(file, write_profile(*profile));
  };
  if (!exists) {
    if (const auto saved = save(); !saved) return saved.error();
  }
  auto plan = make(*profile);
  for (int round = 0; plan && round < most_rounds && !all_measured(*profile, *plan); ++round) {
    const auto measured = measuring.refine(*profile, *plan);
    if (!measured) return measured.error();
    if (*measured == 0) break;
    if (const auto saved = save(); !saved) return saved.error();
    plan = make(*profile);
  }
  if (!plan) return plan.error();
  return Planned{std::move(*profile), std::move(*plan)};
}

}  // namespace amp4ec::cli
