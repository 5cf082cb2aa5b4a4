// SPDX-License-Identifier: Apache-2.0
// session_bench threads|respawn [--json]: what a session adds to the model that it runs.
//
// threads: for each reference model, a request through a session with one worker thread, beside a direct call of the
// unsplit model in the same form on one thread. The two take turns; a pair is the medians of one turn each.
// respawn: MobileNetV2 on one full CPU; the worker is killed and a request sent at once: until the session tells of the
// death, and until the answer. Without a standby and with one.
#include "zoo/zoo.hpp"

#include <amp4ec/amp4ec.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/jit/api/module.h>
#include <boost/json.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

using namespace amp4ec;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace json = boost::json;

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

/// "1x3x224x224"
Value random_input(std::string_view spec) {
  std::vector<std::int64_t> sizes;
  for (const char* at = spec.data(); at < spec.data() + spec.size(); ++at) {
    char* end = nullptr;
    sizes.push_back(std::strtol(at, &end, 10));
    at = end;
  }
  return at::rand(sizes);
}

Values example_of(const ZooEntry& entry) {
  Values inputs;
  for (const std::string& spec : entry.input_specs) inputs.push_back(random_input(spec));
  return inputs;
}

Plan whole_on(const Model& model, const std::string& node) {
  Stage stage;
  stage.node = node;
  stage.last_layer = model.layer_count() - 1;
  Plan plan;
  plan.pipelines.push_back({{stage}});
  return plan;
}

/// Median of calls for a tenth of a second, and at least five.
double median_us(const std::function<void()>& call) {
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 5 || us_since(start) < 1e5) {
    const auto began = Clock::now();
    call();
    times.push_back(us_since(began));
  }
  return quantile(times, 0.5);
}

json::object thread_overhead(const ZooEntry& entry) {
  constexpr std::size_t pairs = 20;
  const Model model = Model::from_module(make_zoo_model(entry.name, 1).value()).value();
  const Values inputs = example_of(entry);
  auto runtime = Runtime::create({{"node", 1.0_cpu, 4_GiB}}).value();
  SessionOptions options;
  options.workers = WorkerKind::thread;
  Session session = runtime.open(model, whole_on(model, "node"), inputs, options).value();
  const auto direct = make_executor(model.segment(0, model.layer_count() - 1).value(), session.form()).value();
  for (int warm = 0; warm < 10; ++warm) {
    (void)direct->run(inputs).value();
    (void)session.infer(inputs).value();
  }
  std::vector<double> plain;
  std::vector<double> added;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    double through = 0;
    double by_hand = 0;
    const auto measure_session = [&] { through = median_us([&] { (void)session.infer(inputs).value(); }); };
    if (pair % 2 == 0) measure_session();
    by_hand = median_us([&] { (void)direct->run(inputs).value(); });
    if (pair % 2 != 0) measure_session();
    plain.push_back(by_hand);
    added.push_back(through - by_hand);
  }
  const double direct_us = quantile(plain, 0.5);
  const double added_us = quantile(added, 0.5);
  return {{"model", entry.name},
          {"direct_us", direct_us},
          {"added_us", added_us},
          {"added_us_q25", quantile(added, 0.25)},
          {"added_us_q75", quantile(added, 0.75)},
          {"allowed_us", std::max(60.0, 0.02 * direct_us)}};
}

json::object respawn(bool standby) {
  constexpr std::size_t rounds = 11;
  const ZooEntry& entry =
      *std::ranges::find_if(zoo_entries(), [](const ZooEntry& known) { return known.name == "mobilenet_v2"; });
  const Model model = Model::from_module(make_zoo_model(entry.name, 1).value()).value();
  const Values inputs = example_of(entry);
  auto runtime = Runtime::create({{"node", 1.0_cpu, 4_GiB}}).value();
  std::atomic<Clock::rep> died{0};
  SessionOptions options;
  options.warm_standby = standby;
  options.on_event = [&](const SessionEvent& event) {
    if (event.kind == SessionEvent::Kind::worker_died) died = event.time.time_since_epoch().count();
  };
  Session session = runtime.open(model, whole_on(model, "node"), inputs, options).value();
  std::vector<double> detected;
  std::vector<double> answered;
  for (std::size_t round = 0; round < rounds; ++round) {
    for (int warm = 0; warm < 5; ++warm) (void)session.infer(inputs).value();
    while (standby && !session.stages().front().has_standby) std::this_thread::sleep_for(10ms);
    const auto start = Clock::now();
    ::kill(session.stages().front().pid, SIGKILL);
    (void)session.infer(inputs).value();
    answered.push_back(us_since(start) / 1e3);
    detected.push_back(
        std::chrono::duration<double, std::milli>(Clock::duration(died.load()) - start.time_since_epoch()).count());
  }
  return {{"standby", standby},
          {"detected_ms", quantile(detected, 0.5)},
          {"detected_ms_max", quantile(detected, 1)},
          {"answered_ms", quantile(answered, 0.5)},
          {"answered_ms_min", quantile(answered, 0)},
          {"answered_ms_max", quantile(answered, 1)}};
}

int run(std::string_view what, bool as_json) {
  json::array rows;
  if (what == "threads") {
    at::set_num_threads(1);  // As many as the node has CPUs.
    for (const ZooEntry& entry : zoo_entries()) {
      rows.push_back(thread_overhead(entry));
      const auto& row = rows.back().as_object();
      const auto us = [&](const char* name) { return row.at(name).to_number<double>(); };
      if (!as_json) {
        fmt::print("{:<14} direct {:>8.0f} us, a worker thread adds {:>5.0f} us ({:.0f} to {:.0f}), allowed {:.0f}\n",
                   entry.name, us("direct_us"), us("added_us"), us("added_us_q25"), us("added_us_q75"),
                   us("allowed_us"));
      }
    }
  } else {
    for (const bool standby : {false, true}) {
      rows.push_back(respawn(standby));
      const auto& row = rows.back().as_object();
      const auto ms = [&](const char* name) { return row.at(name).to_number<double>(); };
      if (!as_json) {
        fmt::print(
            "{:<16} death seen after {:>4.1f} ms (at most {:.1f}), answer after {:>4.0f} ms ({:.0f} to {:.0f})\n",
            standby ? "with a standby" : "without", ms("detected_ms"), ms("detected_ms_max"), ms("answered_ms"),
            ms("answered_ms_min"), ms("answered_ms_max"));
      }
    }
  }
  if (as_json) fmt::print("{}\n", json::serialize(rows));
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what != "threads" && what != "respawn") {
    fmt::print(stderr, "usage: amp4ec_session_bench threads|respawn [--json]\n");
    return 2;
  }
  return run(what, argc > 2 && std::string_view(argv[2]) == "--json");
} catch (const std::exception& failure) {
  fmt::print(stderr, "amp4ec_session_bench: {}\n", failure.what());
  return 1;
}
