// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/ipc/service_histogram.hpp>

#include "support/catch.hpp"

#include <limits>

using namespace amp4ec::ipc;
using namespace std::chrono_literals;

namespace {
double taken_for_us(std::chrono::nanoseconds service) {
  return ServiceHistogram::time_us(ServiceHistogram::bucket_of(service));
}
void count(ServiceHistogram& histogram, std::chrono::nanoseconds service, std::uint64_t times = 1) {
  histogram.counts[ServiceHistogram::bucket_of(service)] += times;
}
}  // namespace

TEST_CASE("every time from 1 us to 275 s is known to within 1/17") {
  double worst = 0;
  for (double ns = 1024; ns < 274e9; ns *= 1.0007) {
    const std::chrono::nanoseconds service(static_cast<std::int64_t>(ns));
    const double us = static_cast<double>(service.count()) / 1e3;
    worst = std::max(worst, std::abs(taken_for_us(service) - us) / us);
  }
  CHECK(worst <= 1.0 / 17 + 1e-9);
  CHECK(worst > 0.05);  // the bound is not met by chance
}

TEST_CASE("buckets follow one another without gaps, and none lies outside") {
  CHECK(ServiceHistogram::bucket_of(1024ns) == 0);
  std::size_t before = 0;
  for (std::int64_t ns = 1024; ns < 1'000'000; ++ns) {
    const auto bucket = ServiceHistogram::bucket_of(std::chrono::nanoseconds(ns));
    REQUIRE((bucket == before || bucket == before + 1));
    before = bucket;
  }
  for (const auto service : {std::chrono::nanoseconds::min(), -1ns, 0ns, 1ns, 1023ns}) {
    CHECK(ServiceHistogram::bucket_of(service) == 0);
  }
  for (const std::chrono::nanoseconds service : {std::chrono::nanoseconds(276s), std::chrono::nanoseconds::max()}) {
    CHECK(ServiceHistogram::bucket_of(service) == ServiceHistogram::buckets - 1);
  }
}

TEST_CASE("quantiles count requests") {
  ServiceHistogram histogram;
  CHECK(histogram.quantile_us(0.5) == 0);
  count(histogram, 1ms, 90);
  count(histogram, 10ms, 9);
  count(histogram, 100ms);
  CHECK(histogram.quantile_us(0) == taken_for_us(1ms));
  CHECK(histogram.quantile_us(0.5) == taken_for_us(1ms));
  CHECK(histogram.quantile_us(0.9) == taken_for_us(1ms));
  CHECK(histogram.quantile_us(0.91) == taken_for_us(10ms));
  CHECK(histogram.quantile_us(0.99) == taken_for_us(10ms));
  CHECK(histogram.quantile_us(0.991) == taken_for_us(100ms));
  CHECK(histogram.quantile_us(1) == taken_for_us(100ms));
}

TEST_CASE("the difference of two readings is what came between; what fell counts as none") {
  ServiceHistogram before;
  count(before, 1ms, 5);
  count(before, 9s, 4);
  auto after = before;
  count(after, 20ms, 3);
  after.counts[ServiceHistogram::bucket_of(9s)] = 1;
  const auto between = after.since(before);
  CHECK(between.quantile_us(0) == taken_for_us(20ms));
  CHECK(between.quantile_us(1) == taken_for_us(20ms));
}

TEST_CASE("absurd counts add up to the largest, and quantiles stay within the buckets") {
  ServiceHistogram histogram;
  histogram.counts.fill(std::numeric_limits<std::uint64_t>::max());
  histogram += histogram;
  CHECK(histogram.counts[7] == std::numeric_limits<std::uint64_t>::max());
  for (const double q : {0.0, 0.5, 0.99, 1.0}) {
    CHECK(histogram.quantile_us(q) >= ServiceHistogram::time_us(0));
    CHECK(histogram.quantile_us(q) <= ServiceHistogram::time_us(ServiceHistogram::buckets - 1));
  }
}
