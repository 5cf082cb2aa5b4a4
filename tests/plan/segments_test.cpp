// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <amp4ec/plan/detail/segments.hpp>
#include <amp4ec/plan/validate.hpp>

#include <random>

using namespace amp4ec;

namespace {

Profile random_profile(std::mt19937& random, bool measured_memory) {
  const auto up_to = [&](std::uint64_t most) { return std::uniform_int_distribution<std::uint64_t>(0, most)(random); };
  Profile profile;
  const std::size_t layers = 2 + up_to(10);
  for (std::size_t i = 0; i < layers; ++i) {
    profile.graph.layers.push_back({"l", "op", 0, Bytes{up_to(30)}, Bytes{}, false});
    profile.layer_us.push_back(1 + static_cast<double>(up_to(9)));
    profile.whole_us += profile.layer_us.back();
  }
  profile.graph.cuts.resize(layers - 1);
  profile.cut_costs.resize(layers - 1);
  profile.process_memory = Bytes{up_to(5)};
  profile.peak_activation = Bytes{up_to(9)};
  Bytes prefix = profile.process_memory;
  for (std::size_t i = 0; i + 1 < layers; ++i) {
    profile.graph.cuts[i].valid = up_to(9) > 0;
    profile.cut_costs[i].measured = up_to(9) > 0;
    prefix += Bytes{up_to(2) * up_to(30)};
    profile.cut_costs[i].prefix_memory = prefix;
  }
  Bytes suffix = profile.process_memory;
  for (std::size_t i = layers - 1; i > 0; --i) {
    suffix += Bytes{up_to(2) * up_to(30)};
    profile.cut_costs[i - 1].suffix_memory = suffix;
  }
  if (measured_memory) profile.whole_memory = std::max(prefix, suffix) + Bytes{1 + up_to(50)};
  while (measured_memory && layers > 3 && up_to(2) > 0) {
    const std::size_t first = 1 + up_to(layers - 3);
    const std::size_t last = first + up_to(layers - 2 - first);
    if (!is_measured(profile, first, last))
      profile.segments.push_back({first, last, 0.3 * static_cast<double>(up_to(99)), Bytes{up_to(120)}});
  }
  return profile;
}

}  // namespace

TEST_CASE("memory between boundaries is the segment's, never falls, and is no less than its part that adds up") {
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    const Profile profile = random_profile(random, round % 4 != 0);
    REQUIRE(validate_profile(profile).has_value());
    const detail::Segments segments(profile);
    CHECK(segments.weights(0) == 0);
    for (std::size_t i = 0; i < segments.end(); ++i) {
      CHECK(segments.weights(i) <= segments.weights(i + 1));
      for (std::size_t j = i + 1; j <= segments.end(); ++j) {
        const Bytes memory = segments.memory(i, j);
        CHECK(memory == segment_memory(profile, segments.first_layer(i), segments.last_layer(j)));
        const double time_us = segments.time_us(i, j);
        CHECK(time_us >= segments.share_us(j) - segments.share_us(i));
        CHECK(time_us == Approx(segment_time_us(profile, segments.first_layer(i), segments.last_layer(j))));
        CHECK(memory >= segments.memory(i + 1, j));
        CHECK(memory >= segments.memory(i, j - 1));
        const double additive =
            static_cast<double>(segments.memory(0, 0).count) + segments.weights(j) - segments.weights(i);
        CHECK(static_cast<double>(memory.count) >= additive);
        if (profile.whole_memory.count == 0) CHECK(static_cast<double>(memory.count) == additive);
      }
    }
  }
}

TEST_CASE("memory that falls where a segment grows makes no profile") {
  std::mt19937 random(6);
  Profile profile = random_profile(random, true);
  profile.cut_costs.front().prefix_memory = profile.whole_memory + Bytes{1};
  CHECK(validate_profile(profile).error().code == Errc::ProfileInvalid);
}
