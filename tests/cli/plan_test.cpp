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
  std::filesystem::copy_file(lstm_profile(), folder.file("profile.json"));
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

  SECTION("a profile is read, and only for its model") {
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
  for (const char* strategy :
       {"optimal", "amp4ec-greedy", "amp4ec-capability", "even", "edgeshard-latency", "edgeshard-throughput"}) {
    const Outcome outcome = run_command({"plan", "lstm", "--strategy", strategy, "--node", "high:1.0:1GiB", "--node",
                                         "low:0.4:1GiB", "--profile", lstm_profile(), "--json"});
    INFO(strategy << ": " << outcome.err);
    REQUIRE(outcome.exit == 0);
    CHECK(outcome.json().at("strategy") == strategy);
    CHECK_FALSE(outcome.json().at("explanation").at("splitting").as_string().empty());
  }
}

TEST_CASE("plan estimates where nothing can be measured, and says so") {
  const std::vector<std::string> arguments = {"plan",   "resnet18", "--no-profile", "--node", "a:1.0:0",
                                              "--node", "b:0.5:0",  "--pipelines",  "1",      "--price",
                                              "a:3",    "--price",  "b:1"};
  const Outcome text = run_command(arguments);
  CHECK(text.exit == 0);
  CHECK(text.out.find("predicted by an estimate, nothing was measured") != std::string::npos);
  CHECK(text.out.find(", price 0.") != std::string::npos);
  auto with_json = arguments;
  with_json.emplace_back("--json");
  const auto plan = run_command(with_json).json();
  const auto& predicted = plan.at("predicted");
  CHECK(predicted.at("estimated") == true);
  CHECK(plan.at("pipelines").at(0).at("stages").as_array().size() == 2);
  double price = 0;
  for (const auto& stage : plan.at("pipelines").at(0).at("stages").as_array()) {
    const bool on_a = stage.at("node") == "a";
    price += (on_a ? 3 : 0.5) * stage.at("time_us").to_number<double>() / 1e6;
  }
  CHECK(predicted.at("price").to_number<double>() == Approx(price));
  check_refused({"plan", "lstm", "--no-profile", "--node", "a:1:0", "--price", "b:1"}, 2, {"b:1", "no such node"});
  check_refused({"plan", "lstm", "--no-profile", "--node", "a:1:0", "--price", "a:-1"}, 2, {"'a'", "price"});
}

TEST_CASE("plan obeys pins, forbidden cuts and bounds") {
  const auto plan_with = [](std::vector<std::string> options) {
    std::vector<std::string> arguments = {"plan",   "resnet18", "--no-profile", "--json",
                                          "--node", "a:1.0:0",  "--node",       "b:1.0:0"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const Outcome outcome = run_command(arguments);
    INFO(outcome.err);
    REQUIRE(outcome.exit == 0);
    return outcome.json().at("pipelines").as_array();
  };
  CHECK(plan_with({}).size() == 2);
  CHECK(plan_with({"--max-pipelines", "1"}).size() == 1);
  const auto pinned = plan_with({"--pin", "0-3:b", "--pin", "20-21:a"});
  REQUIRE(pinned.size() == 1);
  const auto& stages = pinned.at(0).at("stages").as_array();
  REQUIRE(stages.size() == 2);
  CHECK(stages.at(0).at("node") == "b");
  CHECK(stages.at(1).at("node") == "a");
  const auto cut = stages.at(0).at("last_layer").to_number<std::size_t>();
  const auto elsewhere = plan_with({"--pin", "0-3:b", "--pin", "20-21:a", "--forbid-cut", std::to_string(cut)});
  CHECK(elsewhere.at(0).at("stages").at(0).at("last_layer").to_number<std::size_t>() != cut);
  check_refused({"plan", "resnet18", "--no-profile", "--node", "a:1:0", "--pin", "0:a"}, 2, {"0:a", "FIRST-LAST:NODE"});
  check_refused({"plan", "resnet18", "--no-profile", "--node", "a:1:0", "--pin", "0-2:b"}, 2, {"'b'", "no such node"});
}

TEST_CASE("amp4ec-greedy parts MobileNetV2 as published") {
  using Parts = std::vector<std::size_t>;
  const std::vector<Parts> golden = {{116, 25}, {108, 16, 17}, {100, 16, 16, 9}};
  for (const Parts& expected : golden) {
    std::vector<std::string> arguments = {"plan",          "mobilenet_v2", "--strategy",
                                          "amp4ec-greedy", "--json",       "--no-profile"};
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
