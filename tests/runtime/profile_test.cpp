// SPDX-License-Identifier: Apache-2.0
#include "runtime/support.hpp"

#include <amp4ec/monitor/monitor.hpp>
#include <amp4ec/plan/partitioner.hpp>
#include <amp4ec/plan/validate.hpp>
#include <amp4ec/runtime/baseline.hpp>

#include <algorithm>
#include <future>
#include <numeric>

using namespace amp4ec;
using namespace amp4ec::test;

namespace {

/// Heavy enough that its time is its operators'.
Model chain_of_products() {
  return Model::from_module(module_from(R"(
    def forward(self, x):
        w = torch.ones([256, 256]) * 0.01
        a = torch.relu(torch.matmul(x, w))
        b = torch.relu(torch.matmul(a, w))
        c = torch.relu(torch.matmul(b, w))
        return torch.relu(torch.matmul(c, w))
  )"))
      .value();
}

}  // namespace

TEST_CASE("a profile shares the measured time out over the layers, and plans can be made from it") {
  const Model model = chain_of_products();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 0.5_cpu, 1_GiB}}).value();
  const auto input = random_inputs({64, 256}, 1).front();
  std::size_t last_done = 0;
  ProfileOptions options;
  options.progress = [&](std::size_t done, std::size_t total) {
    CHECK(done == last_done + 1);
    CHECK(done <= total);
    last_done = done;
  };
  const Profile profile = runtime.profile(model, input, options).value();
  CHECK(last_done > 2);
  CHECK(profile.graph.model_hash == model.hash());
  CHECK(profile.graph.layers.size() == model.layer_count());
  CHECK(profile.whole_us > 0);
  CHECK(profile.process_memory > 1_MiB);
  if (runtime.capabilities().memory_limits) {
    CHECK(profile.whole_memory >= profile.process_memory);
    CHECK(profile.whole_memory < 100_MiB);  // What it shares with the process that forked it is not its own.
  }
  const double sum = std::accumulate(profile.layer_us.begin(), profile.layer_us.end(), 0.0);
  CHECK(sum == Approx(profile.whole_us));
  for (const double time : profile.layer_us) CHECK(time >= 0);
  for (const CutCost& cut : profile.cut_costs) {
    CHECK(cut.prefix_us >= 0);
    CHECK(cut.suffix_us >= 0);
    CHECK(cut.prefix_memory <= profile.whole_memory);
    CHECK(cut.suffix_memory <= profile.whole_memory);
  }

  const Plan plan = Partitioner{}.plan(profile, runtime.nodes()).value();
  Session session = runtime.open(model, plan, input).value();
  for (const Values& each : random_inputs({64, 256}, 4)) {
    CHECK(compare(session.infer(each).value(), whole_answer(model, each)).relative_error <= 1e-4);
  }
}

TEST_CASE("a profile is refined by the stages of a plan, which are no predictions then") {
  const Model model = chain_of_products();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  const auto input = random_inputs({64, 256}, 1).front();
  ProfileOptions options;
  options.max_cuts = 1;
  Profile profile = runtime.profile(model, input, options).value();
  const auto cut_after = [&](std::size_t from) {
    while (!profile.graph.cuts[from].valid || profile.cut_costs[from].measured) ++from;
    return from;
  };
  const std::size_t first = cut_after(1);
  const std::size_t second = cut_after(first + 1);
  const std::size_t last = model.layer_count() - 1;
  const Plan plan = plan_of({pipeline({{"a", 0, first}, {"b", first + 1, second}, {"c", second + 1, last}})});
  CHECK_FALSE(is_measured(profile, 0, first));
  CHECK_FALSE(is_measured(profile, first + 1, second));
  CHECK(runtime.refine(profile, model, input, plan).value() == 3);
  for (const Stage& stage : plan.pipelines.front().stages)
    CHECK(is_measured(profile, stage.first_layer, stage.last_layer));
  REQUIRE(profile.segments.size() == 1);
  CHECK(profile.segments.front().us > 0);
  const auto has_form = [&](std::size_t from, std::size_t to) {
    return std::ranges::any_of(profile.found_forms, [=](const FoundForm& found) {
      return found.first_layer == from && found.last_layer == to && !found.name.empty();
    });
  };
  CHECK(has_form(0, last));
  for (const Stage& stage : plan.pipelines.front().stages) CHECK(has_form(stage.first_layer, stage.last_layer));
  CHECK(segment_time_us(profile, first + 1, second) >= profile.segments.front().us);
  CHECK(validate_profile(profile).has_value());
  CHECK(runtime.refine(profile, model, input, plan).value() == 0);

  Profile elsewhere = profile;
  elsewhere.cpu = "another";
  elsewhere.segments.clear();
  CHECK(runtime.refine(elsewhere, model, input, plan).value() == 0);
  CHECK(elsewhere.segments.empty());
  elsewhere.graph.model_hash = "another";
  CHECK(runtime.refine(elsewhere, model, input, plan).error().code == Errc::ProfileInvalid);
}

TEST_CASE("bare replicas run on the nodes asked for") {
  const Model model = chain_of_products();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 0.5_cpu, 1_GiB}}).value();
  Baseline baseline = Baseline::open(runtime, model, random_inputs({64, 256}, 1).front()).value();
  const std::size_t both[] = {0, 1};
  const auto rates = baseline.run(both, std::chrono::milliseconds(300)).value();
  REQUIRE(rates.size() == 2);
  for (const Rate& rate : rates) {
    CHECK(rate.throughput_rps > 0);
    CHECK(rate.p50_ms > 0);
  }
  const std::size_t unknown[] = {2};
  CHECK(baseline.run(unknown, std::chrono::milliseconds(1)).error().code == Errc::InvalidArgument);
}

TEST_CASE("the monitor sees what the workers of a node do") {
  const Model model = chain_of_products();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  const auto input = random_inputs({64, 256}, 1).front();
  Session session = runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input).value();
  for (int call = 0; call < 10; ++call) REQUIRE(session.infer(input).has_value());
  runtime.monitor().sample();
  const Sample sample = runtime.monitor().snapshot("a").value();
  CHECK(sample.alive);
  CHECK(sample.requests_done >= 10);
  CHECK(sample.mean_service_us > 0);
  CHECK(sample.cpu_quota == 1.0_cpu);
  if (runtime.capabilities().memory_limits) {
    CHECK(sample.resources_known);
    CHECK(sample.memory > 1_MiB);  // What it shares with the process that forked it is not its own.
  }
}
