// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/backend.hpp>
#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/detail/limit_check.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/limits.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec::cgroup::detail {

/// The folder of one group in one tree.
struct GroupFolder {
  const Tree& tree;
  const std::string& group;

  [[nodiscard]] bool v2() const noexcept { return tree.version == 2; }
  [[nodiscard]] std::string path(std::string_view file) const { return join(tree.folder(group), file); }
  template <class Parser>
  [[nodiscard]] auto read(std::string_view file, Parser parser) const -> decltype(parser(std::string_view())) {
    const auto text = read_file(path(file));
    if (!text) return text.error();
    return parser(*text);
  }
};

/// As well how to write there.
struct Place : GroupFolder {
  Backend& backend;

  [[nodiscard]] Result<void> write(std::string_view file, std::string_view value) const {
    return backend.write(tree, group, file, value);
  }
};

/// Quota, period and burst, from any state of the three files to what is wanted.
struct QuotaLimit {
  static constexpr Controller controller = Controller::Cpu;

  static bool same(const Limits& a, const Limits& b) {
    return a.cpus == b.cpus && a.cpu_burst == b.cpu_burst && (a.cpus.count == 0 || a.cpu_period == b.cpu_period);
  }
  static void copy(const Limits& from, Limits& to) {
    to.cpus = from.cpus;
    to.cpu_period = from.cpu_period;
    to.cpu_burst = from.cpu_burst;
  }

  static Result<void> write(const Place& place, const Limits& limits) {
    const bool limited = limits.cpus.count > 0;
    const auto [quota, period] = limited ? cpu_quota(limits) : CpuQuota{0, limits.cpu_period.count()};
    const auto burst_file = place.v2() ? files::cpu_max_burst : files::cpu_burst;
    // The kernel refuses a quota below the burst, so the burst comes last, and goes first.
    const auto burst_now = place.read(burst_file, parse_number_file);
    if (burst_now && *burst_now > 0) {
      if (auto written = place.write(burst_file, "0"); !written) return written;
    }
    if (place.v2()) {
      auto written =
          place.write(files::cpu_max, limited ? fmt::format("{} {}", quota, period) : fmt::format("max {}", period));
      if (!written) return written;
    } else {
      // The kernel checks the ratio after each write. Without a quota in between, a new period could be refused for a
      // ratio that nobody asked for.
      if (auto written = place.write(files::cpu_quota, "-1"); !written) return written;
      if (auto written = place.write(files::cpu_period, fmt::to_string(period)); !written) return written;
      if (limited) {
        if (auto written = place.write(files::cpu_quota, fmt::to_string(quota)); !written) return written;
      }
    }
    if (limits.cpu_burst.count() == 0) return {};
    return place.write(burst_file, fmt::to_string(limits.cpu_burst.count()));
  }

  static Result<void> read(const GroupFolder& place, Limits& limits) {
    const auto bandwidth = place.v2() ? place.read(files::cpu_max, parse_cpu_max) : read_v1(place);
    if (!bandwidth) return bandwidth.error();
    const auto& [quota, period] = *bandwidth;
    limits.cpus = Cpus{quota == 0 ? 0.0 : static_cast<double>(quota) / static_cast<double>(period)};
    limits.cpu_period = std::chrono::microseconds(static_cast<std::int64_t>(period));
    const auto burst = place.read(place.v2() ? files::cpu_max_burst : files::cpu_burst, parse_number_file);
    limits.cpu_burst = std::chrono::microseconds(burst ? static_cast<std::int64_t>(*burst) : 0);
    return {};
  }

 private:
  static Result<CpuMax> read_v1(const GroupFolder& place) {
    const auto period = place.read(files::cpu_period, parse_number_file);
    if (!period) return period.error();
    if (*period == 0) return malformed("a period", "0");
    const auto text = read_file(place.path(files::cpu_quota));
    if (!text) return text.error();
    if (*text == "-1\n") return CpuMax{0, *period};
    const auto quota = parse_number_file(*text);
    if (!quota) return quota.error();
    return CpuMax{*quota, *period};
  }
};

struct WeightLimit {
  static constexpr Controller controller = Controller::Cpu;
  static constexpr unsigned usual = 100;  ///< Of a new group.

  static bool same(const Limits& a, const Limits& b) { return a.cpu_weight == b.cpu_weight; }
  static void copy(const Limits& from, Limits& to) { to.cpu_weight = from.cpu_weight; }

  static Result<void> write(const Place& place, const Limits& limits) {
    const auto weight = limits.cpu_weight == 0 ? usual : limits.cpu_weight;
    if (place.v2()) return place.write(files::cpu_weight, fmt::to_string(weight));
    return place.write(files::cpu_shares, fmt::to_string(weight * shares / usual));
  }

  static Result<void> read(const GroupFolder& place, Limits& limits) {
    const auto number = place.read(place.v2() ? files::cpu_weight : files::cpu_shares, parse_number_file);
    if (!number) return number.error();
    const auto weight = static_cast<unsigned>(place.v2() ? *number : (*number * usual + shares / 2) / shares);
    limits.cpu_weight = weight == usual ? 0 : std::clamp(weight, 1U, 10'000U);
    return {};
  }

 private:
  static constexpr unsigned shares = 1024;  ///< What v1 calls the usual weight.
};

}  // namespace amp4ec::cgroup::detail
