// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/model.hpp>

#include <filesystem>

using namespace amp4ec::test;

TEST_CASE("zoo lists the reference models with their inputs") {
  const Outcome outcome = run_command({"zoo", "--json"});
  REQUIRE(outcome.exit == 0);
  CHECK(outcome.err.empty());
  const auto listed = outcome.json();
  bool found = false;
  for (const auto& model : listed.at("models").as_array()) {
    if (model.at("name") != "mobilenet_v2") continue;
    found = true;
    CHECK(model.at("inputs").at(0) == "1x3x224x224");
  }
  CHECK(found);
  CHECK(run_command({"zoo"}).out.find("resnet50") != std::string::npos);
}

TEST_CASE("zoo writes a model that loads") {
  const TemporaryFolder folder;
  const std::string file = folder.file("lstm.pt");
  const Outcome outcome = run_command({"zoo", "lstm", "-o", file, "--seed", "3", "--json"});
  REQUIRE(outcome.exit == 0);
  CHECK(outcome.json().at("bytes").to_number<std::uint64_t>() == std::filesystem::file_size(file));
  CHECK(amp4ec::Model::load(file).has_value());
}
