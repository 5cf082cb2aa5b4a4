// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/evaluate.hpp>
#include <amp4ec/plan/json_text.hpp>
#include <amp4ec/plan/plan_json.hpp>
#include <amp4ec/plan/profile_json.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace amp4ec;

namespace {

Plan sample_plan() {
  Plan plan;
  plan.model_hash = "9f86d0";
  plan.strategy = "optimal";
  plan.objective = "throughput";
  plan.pipelines = {
      {{{"high", 0, 3, 4, 1234.5678901234567, 310_MiB, 602112_B}, {"low", 4, 9, 6, 1.0 / 3, 120_MiB, 0_B}}},
      {{{"medium", 0, 9, 10, 1e-7, 400_MiB, 0_B}}}};
  plan.predicted = {81.00000000000001, 12.345, 1.0 + 1.0 / 7, 0.1, true};
  plan.gap = 0;
  plan.advice = "a \"quoted\" word, a \\, a\ttab and \xC3\xB6";
  return plan;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const auto at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), with);
}

void check_refused(const std::string& text, Errc code, const std::string& part) {
  const auto plan = read_plan(text);
  INFO(text.substr(0, 300));
  REQUIRE_FALSE(plan.has_value());
  INFO(plan.error().message);
  CHECK(plan.error().code == code);
  CHECK(plan.error().message.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("a plan reads back as it was written") {
  const Plan plan = sample_plan();
  const std::string text = write_plan(plan);
  CHECK(read_plan(text).value() == plan);
  CHECK(write_plan(read_plan(text).value()) == text);
}

TEST_CASE("a plan file is readable: a stage a line") {
  Plan plan;
  plan.strategy = "even";
  plan.pipelines = {{{{"high", 0, 3, 4, 1.5, 310_B, 7_B}, {"low", 4, 9, 6, 2, 120_B, 0_B, "frozen"}}}};
  CHECK(write_plan(plan) == R"({
  "schema": 1,
  "model_hash": "",
  "strategy": "even",
  "objective": "",
  "pipelines": [
    {
      "stages": [
        {"node": "high", "first_layer": 0, "last_layer": 3, "leaf_modules": 4, "time_us": 1.5, "memory_bytes": 310, "crossing_bytes": 7},
        {"node": "low", "first_layer": 4, "last_layer": 9, "leaf_modules": 6, "time_us": 2, "memory_bytes": 120, "crossing_bytes": 0, "form": "frozen"}
      ]
    }
  ],
  "predicted": {"throughput_rps": 0, "latency_ms": 0, "slowdown": 1, "price": 0, "estimated": false},
  "gap": 0,
  "advice": ""
}
)");
}

TEST_CASE("a plan written by hand needs nodes and layers only") {
  const Plan plan = read_plan(R"({"schema": 1, "comment": "mine", "pipelines": [{"stages": [
      {"node": "a", "first_layer": 0, "last_layer": 4}]}]})")
                        .value();
  REQUIRE(plan.pipelines.size() == 1);
  CHECK(plan.pipelines[0].stages[0].last_layer == 4);
  CHECK(plan.gap < 0);
}

TEST_CASE("a malformed plan is refused with the path of the fault") {
  const std::string good = write_plan(sample_plan());
  const auto json = Errc::JsonInvalid;
  check_refused("", json, "not JSON");
  check_refused("{\n\"schema\": 1,\n}", json, "line 3");
  check_refused(good + "x", json, "not JSON");
  check_refused("[]", json, "$: expected an object");
  check_refused("{}", json, "$.schema: is missing");
  check_refused(replaced(good, "\"schema\": 1", "\"schema\": 2"), Errc::NotSupported, "$.schema");
  check_refused(R"({"schema": 1})", json, "$.pipelines: is missing");
  check_refused(R"({"schema": 1, "pipelines": {}})", json, "$.pipelines: expected an array");
  check_refused(R"({"schema": 1, "pipelines": [3]})", json, "$.pipelines[0]: expected an object");
  check_refused(replaced(good, "\"node\": \"low\"", "\"node\": 7"), json,
                "$.pipelines[0].stages[1].node: expected a string");
  check_refused(replaced(good, "\"node\": \"low\"", "\"nod\": \"low\""), json,
                "$.pipelines[0].stages[1].nod: is not a field");
  for (const char* number : {"-1", "1.5", "1e300", "1e400", "18446744073709551615", "\"4\"", "null", "true"}) {
    check_refused(replaced(good, "\"first_layer\": 4", std::string("\"first_layer\": ") + number), json,
                  "$.pipelines[0].stages[1].first_layer: expected a whole number");
  }
  for (const char* number : {"1e400", "-1e400", "\"1\"", "null", "[]"}) {
    check_refused(replaced(good, "\"gap\": 0", std::string("\"gap\": ") + number), json,
                  "$.gap: expected a finite number");
  }
  check_refused(replaced(good, "\"gap\": 0", "\"gap\": NaN"), json, "not JSON");
  check_refused(replaced(good, "\"predicted\": {", "\"predicted\": [], \"x\": {"), json,
                "$.predicted: expected an object");
}

TEST_CASE("hostile text is refused, not crashed on") {
  check_refused(std::string(1000000, '['), Errc::JsonInvalid, "not JSON");
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += R"({"a":)";
  check_refused(deep, Errc::JsonInvalid, "not JSON");
  check_refused("{\"schema\": " + std::string(100000, '9') + "}", Errc::JsonInvalid, "$.schema");
  check_refused(std::string("{\"schema\": 1\0}", 14), Errc::JsonInvalid, "not JSON");
  check_refused("{\"advice\": \"\xFF\xFE\"}", Errc::JsonInvalid, "not JSON");

  // Every prefix, and many single-byte changes, of a good text: an error or a plan, never more.
  const std::string good = write_plan(sample_plan());
  for (std::size_t n = 0; n + 1 < good.size(); ++n) CHECK_FALSE(read_plan(good.substr(0, n)).has_value());
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string text = good;
    text[random() % text.size()] = static_cast<char>(random() % 256);
    if (const auto plan = read_plan(text)) CHECK(read_plan(write_plan(*plan)).value() == *plan);
  }
}

TEST_CASE("a profile reads back as it was written") {
  Profile profile = sample_profile({10.1, 20.7, 1.0 / 3});
  reject_cut(profile, 1);
  profile.cut_costs[1].measured = false;
  profile.graph.layers[2].random = true;
  profile.form = "optimized";
  profile.libtorch = "1.13.1";
  profile.cpu = "a processor";
  profile.spread = 0.0123;
  profile.contention = {4, 1.1};
  profile.estimated = true;
  profile.whole_memory = 90_MiB;
  profile.process_memory = 8_MiB;
  profile.cut_costs[0].prefix_memory = profile.cut_costs[1].prefix_memory = 20_MiB;
  profile.cut_costs[0].suffix_memory = profile.cut_costs[1].suffix_memory = 80_MiB;
  profile.found_forms = {{0, 2, "optimized for inference"}, {1, 2, "plain"}};
  profile.input = 602112_B;
  profile.peak_activation = 9_MiB;
  const std::string text = write_profile(profile);
  CHECK(read_profile(text).value() == profile);

  const auto refused = [](const Result<Profile>& read, Errc code, const std::string& part) {
    REQUIRE_FALSE(read.has_value());
    INFO(read.error().message);
    CHECK(read.error().code == code);
    CHECK(read.error().message.find(part) != std::string::npos);
  };
  refused(read_profile(replaced(text, "\"measured\": true", "\"measured\": 1")), Errc::JsonInvalid,
          "$.cuts[0].measured: expected true or false");
  refused(read_profile(replaced(text, "\"time_us\": 10.1", "\"time_us\": -10.1")), Errc::ProfileInvalid, "layer 0");
  refused(read_profile(replaced(text, "\"weight_bytes\": 1048576", "\"weight_bytes\": 9000000000000000000")),
          Errc::ProfileInvalid, "memory");
  refused(read_profile(R"({"schema": 1})"), Errc::JsonInvalid, "$.model_hash: is missing");
}

TEST_CASE("every double that is written reads back equal") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t bits = random();
    double number = 0;
    std::memcpy(&number, &bits, sizeof number);
    if (!std::isfinite(number)) continue;
    INFO(number);
    REQUIRE(parse_json(json_text(number)).value().to_number<double>() == number);
  }
}

TEST_CASE("JSON text is always JSON") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(json_text(nan) == "null");
  CHECK(json_text(-std::numeric_limits<double>::infinity()) == "null");
  CHECK(json_text(boost::json::object{}) == "{}");
  CHECK(json_text(boost::json::array{}) == "[]");
  CHECK(json_text(boost::json::array{1, "a\"b", true, nullptr, 2.5}) == R"([1, "a\"b", true, null, 2.5])");
  CHECK(json_text(boost::json::object{{"list", boost::json::array{boost::json::object{}}}}) ==
        "{\n  \"list\": [\n    {}\n  ]\n}");
  const boost::json::array numbers(100, boost::json::value(12345));
  CHECK(parse_json(json_text(numbers)).value() == numbers);
}
