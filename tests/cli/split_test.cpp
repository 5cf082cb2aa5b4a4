// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/model.hpp>
#include <amp4ec/plan/json_text.hpp>

#include <fmt/format.h>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <filesystem>

using namespace amp4ec::test;

namespace {

namespace json = boost::json;

json::object stage(const char* node, std::size_t first, std::size_t last) {
  return {{"node", node}, {"first_layer", first}, {"last_layer", last}};
}

/// A whole replica, and two stages cut at the model's first valid place.
std::string write_plan_of_two_pipelines(const TemporaryFolder& folder) {
  const auto report = run_command({"inspect", "lstm", "--no-profile", "--json"}).json();
  const auto& cuts = report.at("cuts").as_array();
  std::size_t cut = 0;
  while (!cuts.at(cut).at("valid").as_bool()) ++cut;
  const std::size_t last = cuts.size();
  const json::object plan{
      {"schema", 1},
      {"pipelines", json::array{json::object{{"stages", json::array{stage("c", 0, last)}}},
                                json::object{{"stages", json::array{stage("a", 0, cut), stage("b", cut + 1, last)}}},
                                json::object{{"stages", json::array{stage("d", 0, last)}}}}}};
  write_text(folder.file("plan.json"), amp4ec::json_text(plan));
  return folder.file("plan.json");
}

}  // namespace

TEST_CASE("split writes each distinct segment once, and a manifest") {
  const TemporaryFolder folder;
  const std::string plan = write_plan_of_two_pipelines(folder);
  const std::string parts = folder.file("parts");
  const Outcome outcome = run_command({"split", "lstm", "--plan", plan, "-o", parts, "--json"});
  REQUIRE(outcome.exit == 0);
  const auto manifest = outcome.json();
  CHECK(read_text(parts + "/manifest.json") == outcome.out);
  REQUIRE(manifest.at("segments").as_array().size() == 3);
  for (const auto& segment : manifest.at("segments").as_array()) {
    CHECK(segment.at("inputs").to_number<int>() >= 1);
    CHECK(segment.at("outputs").to_number<int>() >= 1);
    CHECK(amp4ec::Model::load(parts + "/" + std::string(segment.at("file").as_string())).has_value());
  }
  CHECK(amp4ec::json_text(manifest.at("pipelines")) ==
        amp4ec::json_text(amp4ec::parse_json("[[0],[1,2],[0]]").value()));
}

TEST_CASE("split leaves nothing behind when it fails") {
  const TemporaryFolder folder;
  const std::string plan = write_plan_of_two_pipelines(folder);
  std::filesystem::create_directories(folder.file("parts/segment-1.pt"));  // in the way of the second segment
  check_refused({"split", "lstm", "--plan", plan, "-o", folder.file("parts")}, 2, {"segment-1.pt"});
  CHECK_FALSE(std::filesystem::exists(folder.file("parts/segment-0.pt")));
  CHECK_FALSE(std::filesystem::exists(folder.file("parts/manifest.json")));
  check_refused({"split", "lstm", "--plan", plan, "-o", folder.file("no/such/folder")}, 2, {"no/such/folder"});
}

TEST_CASE("split refuses plans that are not the model's") {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::string& text, const std::vector<std::string>& words) {
    write_text(folder.file("bad.json"), text);
    check_refused({"split", "lstm", "--plan", folder.file("bad.json"), "-o", folder.file("out")}, 2, words);
    CHECK_FALSE(std::filesystem::exists(folder.file("out")));
  };
  refuse("not json", {"JsonInvalid", "bad.json"});
  refuse(R"({"schema": 1, "pipelines": [{"stages": [{"node": "a", "first_layer": 0}]}]})", {"last_layer"});
  refuse(R"({"schema": 1, "pipelines": [{"stages": [{"node": "a", "first_layer": 0, "last_layer": 99999}]}]})",
         {"PlanInvalid", "99999"});
  refuse(R"({"schema": 1, "model_hash": "f00", "pipelines": []})", {"PlanInvalid", "f00"});
  refuse(R"({"schema": 1, "pipelines": []})", {"PlanInvalid", "no pipeline"});
}
