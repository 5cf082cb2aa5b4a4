// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "sample_profile.hpp"

#include <amp4ec/plan/explain.hpp>
#include <amp4ec/plan/explanation_json.hpp>
#include <amp4ec/plan/explanation_text.hpp>
#include <amp4ec/plan/json_text.hpp>
#include <amp4ec/plan/plan_json.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <limits>
#include <string>
#include <vector>

using namespace amp4ec;

namespace {

/// A split that memory forces, with a slow link.
struct Example {
  Profile profile = sample_profile({10000, 10000, 10000, 55000});
  std::vector<NodeSpec> nodes{{"a", 1_cpu, 7_MiB}, {"b", 0.5_cpu, 6_MiB}, {"spare", 0.1_cpu, 0_B}};
  std::vector<LinkSpec> links{{"a", "b", 1000000_B, 500}, {"b", "a", 1000000_B, 500}};

  [[nodiscard]] Problem problem() const { return {profile, nodes, links, Objective::throughput, 1, 2}; }
  [[nodiscard]] Plan plan() const { return plan_optimal(problem()).value(); }
  [[nodiscard]] Explanation explanation() const { return explain(plan(), problem()).value(); }
};

}  // namespace

TEST_CASE("an explanation is aligned text for people") {
  const Example example;
  const std::string text = to_text(example.explanation());
  INFO(text);
  CHECK(text.starts_with(R"(pipeline  bottleneck      busy a request  requests/s  one request
       0  stage 1 on 'b'        60.00 ms        16.7    104.00 ms

node      busy    slack   memory    limit  headroom
a       91.7 %    8.3 %  2.0 MiB  7.0 MiB   5.0 MiB
b      100.0 %    0.0 %  6.0 MiB  6.0 MiB       0 B
spare    0.0 %  100.0 %      0 B        -         -

link     busy  time a request
b -> a  2.5 %         1.50 ms

)"));
}

TEST_CASE("an explanation is a JSON object beside the plan") {
  const Example example;
  const Explanation explanation = example.explanation();
  const auto json = parse_json(json_text(explanation_to_json(explanation))).value();
  CHECK(json.at("objective") == "throughput");
  CHECK(json.at("limit").at("kind").as_string() == to_string(explanation.limit.kind));
  CHECK(json.at("limit").at("sentence").as_string() == explanation.limit.sentence);
  CHECK(json.at("splitting").as_string() == explanation.splitting);
  CHECK(json.at("replanned") == true);
  CHECK(json.at("pipelines").at(0).at("kind") == "stage");
  CHECK(json.at("pipelines").at(0).at("bottleneck") == "stage 1 on 'b'");
  CHECK(json.at("nodes").at(0).at("memory_headroom_bytes") == (5_MiB).count);
  CHECK(json.at("nodes").at(2).at("memory_limit_bytes").is_null());
  CHECK(json.at("nodes").at(2).at("slack") == 1);
  CHECK(json.at("links").at(0).at("from") == "b");
  CHECK(json.at("alternatives").as_array().size() == explanation.alternatives.size());
  CHECK(json.at("alternatives").at(0).at("name") == "best plan");
  CHECK(json.at("alternatives").at(0).at("layout") == "b:0-2 > a:3-3");
  CHECK(json.at("relaxations").as_array().size() == explanation.relaxations.size());

  SECTION("a report that holds both is a plan") {
    auto report = plan_to_json(example.plan());
    report["explanation"] = explanation_to_json(explanation);
    CHECK(read_plan(json_text(report)).value() == example.plan());
  }
  SECTION("what is infinite or not there is null") {
    Explanation odd;
    odd.alternatives.emplace_back().gain = std::numeric_limits<double>::infinity();
    odd.nodes.push_back({"a", 0, 3_B, 2_B});
    const auto object = explanation_to_json(odd);
    CHECK(object.at("alternatives").at(0).at("gain").is_null());
    CHECK(object.at("next_best").is_null());
    CHECK(object.at("nodes").at(0).at("memory_headroom_bytes") == -1);
  }
}
