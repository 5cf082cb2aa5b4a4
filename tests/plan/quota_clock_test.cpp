// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <amp4ec/plan/detail/quota_clock.hpp>
#include <amp4ec/plan/detail/random_source.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>

using amp4ec::detail::QuotaClock;
using amp4ec::detail::RandomSource;

namespace {

/// The same by the book: a microsecond after the other, of one node.
class StepByStep {
 public:
  StepByStep(double quota, int period_us, int first_end_us)
      : budget_(quota * period_us), period_us_(period_us), end_us_(first_end_us), left_(budget_) {}

  void step(std::size_t running) {
    if (now_us_ == end_us_) {
      left_ = budget_;
      end_us_ += period_us_;
    }
    if (running > 0) {
      const double work = std::min(1.0, left_ / static_cast<double>(running));
      left_ -= work * static_cast<double>(running);
      work_us_ += work;
    }
    ++now_us_;
  }
  [[nodiscard]] double work_us() const { return work_us_; }

 private:
  double budget_;
  int period_us_;
  int end_us_;
  int now_us_ = 0;
  double left_;
  double work_us_ = 0;
};

}  // namespace

TEST_CASE("a clock held by periods goes as one that counts every microsecond") {
  RandomSource chance(1, 0);
  for (int round = 0; round < 200; ++round) {
    const double quota = 0.05 + 2 * chance.uniform();
    const int period_us = 50 + static_cast<int>(200 * chance.uniform());
    const int first_end_us = 1 + static_cast<int>(period_us * chance.uniform());
    INFO("quota " << quota << ", period " << period_us << ", first ends at " << first_end_us);
    QuotaClock clock(quota, period_us, first_end_us);
    StepByStep steps(quota, period_us, first_end_us);
    int now_us = 0;
    double used_us = 0;
    for (int change = 0; change < 30; ++change) {
      const auto running = static_cast<std::size_t>(4 * chance.uniform());
      const int length = static_cast<int>(500 * chance.uniform());
      const double before = steps.work_us();
      for (int i = 0; i < length; ++i) steps.step(running);
      now_us += length;
      const double gained = steps.work_us() - before;
      used_us += gained * static_cast<double>(running);
      const double clock_before = clock.work_us();
      if (running > 0 && gained > 0) {
        // When so much is done, if the clock is asked before: not later than now, and not before so much is done.
        const double at = clock.time_of(gained, running);
        CHECK(at <= now_us + 2e-3);
        QuotaClock copy = clock;
        copy.advance(at, running);
        CHECK(copy.work_us() - clock_before == Approx(gained).margin(2e-3));
      }
      clock.advance(now_us, running);
      REQUIRE(clock.work_us() - clock_before == Approx(gained).margin(1e-6));
      REQUIRE(clock.used_us() == Approx(used_us).margin(1e-5));
    }
  }
}

TEST_CASE("an even clock shares its quota") {
  QuotaClock clock(0.5);
  CHECK(clock.time_of(100, 1) == Approx(200));
  CHECK(clock.time_of(100, 2) == Approx(400));
  clock.advance(200, 1);
  CHECK(clock.work_us() == Approx(100));
  CHECK(clock.time_of(100, 4) == Approx(200 + 800));
  QuotaClock large(3);
  CHECK(large.time_of(100, 1) == Approx(100));
  CHECK(large.time_of(100, 3) == Approx(100));
  CHECK(large.time_of(100, 6) == Approx(200));
}
