// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace amp4ec::detail {

/// How much work each busy worker of a node has got done: a clock that all of them share, since the node's quota is
/// shared evenly, and that runs at full speed, more slowly or not at all. Work is CPU time in microseconds.
class QuotaClock {
 public:
  /// `period_us` 0: the quota is spread evenly over time (`QuotaModel::even`).
  explicit QuotaClock(double quota, double period_us = 0, double first_period_ends_us = 0)
      : quota_(quota), period_us_(period_us), period_end_us_(first_period_ends_us), left_us_(quota * period_us) {}

  /// Work done by each since the clock last began anew.
  [[nodiscard]] double work_us() const noexcept { return work_us_; }
  /// CPU time used by all.
  [[nodiscard]] double used_us() const noexcept { return used_us_; }
  void forget_use() noexcept { used_us_ = 0; }

  /// Begins anew at 0, to keep numbers small and exact. @pre nobody runs
  void begin_anew() noexcept { work_us_ = 0; }
  /// Takes away what rounding left between the clock and the end of the job that is done now.
  void settle_at(double work_us) noexcept { work_us_ = work_us; }

  /// Moves on to this time, with so many at work since the last move.
  void advance(double now_us, std::size_t running) noexcept {
    if (running > 0) {
      const double gained = period_us_ > 0 ? gain_in_periods(now_us, static_cast<double>(running))
                                           : (now_us - at_us_) * rate(static_cast<double>(running));
      work_us_ += gained;
      used_us_ += gained * static_cast<double>(running);
    }
    at_us_ = now_us;
  }

  /// When each will have done so much more, if as many go on. @pre running > 0
  [[nodiscard]] double time_of(double more_work_us, std::size_t running) noexcept {
    const auto workers = static_cast<double>(running);
    if (period_us_ <= 0) return at_us_ + more_work_us / rate(workers);
    refill();
    const double now = std::min(period_end_us_ - at_us_, left_us_ / workers);
    if (more_work_us <= now + tolerance_us) return at_us_ + more_work_us;
    const double rest = more_work_us - now;
    const double each = gain_of_period(workers);
    const double whole = std::max(0.0, std::ceil((rest - tolerance_us) / each) - 1);
    return period_end_us_ + whole * period_us_ + (rest - whole * each);
  }

 private:
  /// Work that just fits into a period must not wait for the next one because of rounding.
  static constexpr double tolerance_us = 1e-3;

  [[nodiscard]] double rate(double workers) const noexcept { return std::min(1.0, quota_ / workers); }
  [[nodiscard]] double gain_of_period(double workers) const noexcept { return period_us_ * rate(workers); }

  /// Leaves periods behind that ended while nobody ran.
  void refill() noexcept {
    if (at_us_ < period_end_us_) return;
    period_end_us_ += period_us_ * (std::floor((at_us_ - period_end_us_) / period_us_) + 1);
    left_us_ = quota_ * period_us_;
  }

  /// What each gains until then: in the rest of this period, in whole ones, and in the last.
  double gain_in_periods(double now_us, double workers) noexcept {
    refill();
    double gained = use(std::min(now_us, period_end_us_) - at_us_, workers);
    if (now_us < period_end_us_) return gained;
    const double whole = std::floor((now_us - period_end_us_) / period_us_);
    gained += whole * gain_of_period(workers);
    const double last_begins = period_end_us_ + whole * period_us_;
    period_end_us_ = last_begins + period_us_;
    left_us_ = quota_ * period_us_;
    return gained + use(now_us - last_begins, workers);
  }

  /// Runs in one period for so long, or until its quota is used.
  double use(double time_us, double workers) noexcept {
    const double run = std::clamp(left_us_ / workers, 0.0, std::max(0.0, time_us));
    left_us_ -= run * workers;
    return run;
  }

  double quota_;
  double period_us_;
  double period_end_us_;
  double left_us_;  ///< CPU time of this period.
  double at_us_ = 0;
  double work_us_ = 0;
  double used_us_ = 0;
};

}  // namespace amp4ec::detail
