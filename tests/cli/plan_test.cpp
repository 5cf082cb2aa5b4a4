// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "support/catch.hpp"

#include <amp4ec/plan/json_text.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

using namespace amp4ec::test;

TEST_CASE("plan covers the model, predicts and explains") {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_command({"plan", "lstm", "--node", "high:1.0:1GiB", "--node", "low:0.4:512MiB", "--pipelines", "1",
                   "--profile", folder.file("profile.json"), "-o", folder.file("plan.json"), "--json"});
  REQUIRE(outcome.exit == 0);
  CHECK(outcome.err.empty());
  const auto plan = outcome.json();
  REQUIRE(plan.at("pipelines").as_array().size() == 1);
  const auto& stages = plan.at("pipelines").at(0).at("stages").as_array();
  std::size_t next = 0;
  for (const auto& stage : stages) {
    CHECK(stage.at("first_layer").to_number<std::size_t>() == next);
    next = stage.at("last_layer").to_number<std::size_t>() + 1;
    CHECK(stage.at("time_us").to_number<double>() > 0);
    CHECK(stage.at("memory_bytes").to_number<double>() > 0);
  }
  CHECK(plan.at("predicted").at("throughput_rps").to_number<double>() > 0);
  CHECK(plan.at("predicted").at("latency_ms").to_number<double>() > 0);
  CHECK(plan.at("gap").to_number<double>() == 0);
  CHECK_FALSE(plan.at("advice").as_string().empty());

  const auto& explanation = plan.at("explanation");
  CHECK_FALSE(explanation.at("limit").at("sentence").as_string().empty());
  CHECK(explanation.at("splitting").as_string().starts_with("splitting"));
  CHECK(explanation.at("pipelines").as_array().size() == 1);
  CHECK(explanation.at("nodes").as_array().size() == 2);
  CHECK(explanation.at("alternatives").at(0).at("same_plan") == true);
  CHECK_FALSE(explanation.at("relaxations").as_array().empty());
  // The file is the plan alone: an explanation would be stale as soon as somebody edits it.
  auto without = plan.as_object();
  without.erase("explanation");
  CHECK(amp4ec::json_text(without) + "\n" == read_text(folder.file("plan.json")));

  SECTION("the written profile is read the next time, and only for its model") {
    const auto again =
        run_command({"plan", "lstm", "--node", "high:1.0:1GiB", "--profile", folder.file("profile.json")});
    CHECK(again.exit == 0);
    CHECK(again.out.find("predicted:") != std::string::npos);
    CHECK(again.out.find("limit: ") != std::string::npos);
    CHECK(again.out.find("splitting does not help here, because there is one node only") != std::string::npos);
    check_refused({"plan", "lstm", "--seed", "7", "--node", "high:1.0:1GiB", "--profile", folder.file("profile.json")},
                  2, {"ProfileInvalid", "profile.json"});
  }
  SECTION("--scale multiplies every quota") {
    const auto rate = [&](const char* scale) {
      const auto scaled = run_command(
          {"plan", "lstm", "--node", "a:0.8:0", "--scale", scale, "--profile", folder.file("profile.json"), "--json"});
      REQUIRE(scaled.exit == 0);
      return scaled.json().at("predicted").at("throughput_rps").to_number<double>();
    };
    CHECK(rate("0.5") == Approx(rate("1") / 2));
  }
  SECTION("a node that is too small is the answer no") {
    check_refused({"plan", "lstm", "--node", "tiny:1.0:1MiB", "--profile", folder.file("profile.json")}, 1,
                  {"PlanInfeasible", "tiny"});
    const auto as_json =
        run_command({"plan", "lstm", "--node", "tiny:1.0:1MiB", "--profile", folder.file("profile.json"), "--json"});
    CHECK(as_json.exit == 1);
    CHECK(as_json.json().at("error").at("code") == "PlanInfeasible");
  }
}

TEST_CASE("every strategy of the contract plans") {
  const TemporaryFolder folder;
  for (const char* strategy :
       {"optimal", "amp4ec-greedy", "amp4ec-capability", "even", "edgeshard-latency", "edgeshard-throughput"}) {
    const Outcome outcome = run_command({"plan", "lstm", "--strategy", strategy, "--node", "high:1.0:1GiB", "--node",
                                         "low:0.4:1GiB", "--profile", folder.file("profile.json"), "--json"});
    INFO(strategy << ": " << outcome.err);
    REQUIRE(outcome.exit == 0);
    CHECK(outcome.json().at("strategy") == strategy);
    CHECK_FALSE(outcome.json().at("explanation").at("splitting").as_string().empty());
  }
}

TEST_CASE("amp4ec-greedy parts MobileNetV2 as published") {
  const TemporaryFolder folder;
  using Parts = std::vector<std::size_t>;
  const std::vector<Parts> golden = {{116, 25}, {108, 16, 17}, {100, 16, 16, 9}};
  for (const Parts& expected : golden) {
    std::vector<std::string> arguments = {
        "plan", "mobilenet_v2", "--strategy", "amp4ec-greedy", "--json", "--profile", folder.file("profile.json")};
    for (std::size_t i = 0; i < expected.size(); ++i) {
      arguments.insert(arguments.end(), {"--node", "n" + std::to_string(i) + ":1.0:0"});
    }
    const Outcome outcome = run_command(arguments);
    REQUIRE(outcome.exit == 0);
    Parts parts;
    const auto plan = outcome.json();
    for (const auto& stage : plan.at("pipelines").at(0).at("stages").as_array()) {
      parts.push_back(stage.at("leaf_modules").to_number<std::size_t>());
    }
    CHECK(parts == expected);
  }
}
