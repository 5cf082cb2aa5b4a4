// SPDX-License-Identifier: Apache-2.0
// session_bench threads [MODEL]|respawn|stall|hop [--json]: what a session adds to the model that it runs.
//
// threads: for each reference model, a request through a session with one worker thread, beside a direct call of the
// unsplit model on one thread, in the very form that the worker chose. The two take turns; a pair is the medians of one
// turn each. Beside it, what a request takes besides the worker's own time: the copy of the inputs and the wake-ups.
// Run it with OMP_NUM_THREADS=1: both sides compute on one thread.
// respawn: MobileNetV2 on one full CPU; the worker is killed and a request sent at once: until the session tells of the
// death, and until the answer. Without a standby and with one.
// stall: a worker under load is stopped; until the session tells of the stall.
// hop: one request after the other through two worker processes, from the first one's output ready to the second one's
// first operator: encoding, the ring, the blocking wake-up, the worker's loop and decoding included. Beside it what the
// workers count themselves (StageReport::hop), which is from hand-over to receipt: without encoding and decoding.
#include "hop_stamps.hpp"
#include "model/in_place_executor.hpp"
#include "model/support.hpp"
#include "zoo/zoo.hpp"

#include <amp4ec/amp4ec.hpp>
#include <amp4ec/ipc/memory_file.hpp>
#include <amp4ec/model/compare.hpp>
#include <amp4ec/model/operator_library.hpp>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/csrc/jit/api/module.h>
#include <boost/asio/use_future.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sched.h>
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

/// A way to execute the whole model in this process.
struct DirectForm {
  std::string name;
  std::unique_ptr<SegmentExecutor> executor;
};

/// Every form that a worker may choose, under the worker's names for them. What is not possible is left out.
std::vector<DirectForm> direct_forms(const Model& model) {
  const Segment whole = model.segment(0, model.layer_count() - 1).value();
  std::vector<DirectForm> forms;
  forms.push_back({"plain", make_executor(whole, Form::Plain).value()});
  const auto archive = std::make_shared<std::string>(whole.archive().value());
  const auto bytes = std::as_writable_bytes(std::span(archive->data(), archive->size()));
  for (const char* name : {"optimized for inference", "frozen"}) {
    auto made = amp4ec::detail::make_executor_in_place(bytes, archive, whole.output_count(), Form::Optimized, name);
    if (made) forms.push_back({name, std::move(*made)});
  }
  return forms;
}

/// The form that the session's worker has chosen does not show from outside, but in its answers: forms round
/// differently. Of forms that answer bit by bit as it does, the fastest, so that the session is never measured against
/// a slower one than its own.
DirectForm& form_of(Session& session, std::vector<DirectForm>& forms, const Values& inputs, bool& is_known) {
  const Value answer = session.infer(inputs).value();
  DirectForm* found = nullptr;
  double best_us = 0;
  is_known = false;
  for (DirectForm& form : forms) {
    const bool same = compare(form.executor->run(inputs).value().front(), answer).bit_equal;
    const double us = median_us([&] { (void)form.executor->run(inputs).value(); });
    if (is_known && !same) continue;
    if (found == nullptr || (same && !is_known) || us < best_us) {
      found = &form;
      best_us = us;
    }
    is_known = is_known || same;
  }
  return *found;
}

/// What a request takes beside the worker's own time, from the receipt of its message to the hand-over of the result: a
/// mean over calls for a tenth of a second. Unlike the difference of two calls it is not lost in their spread.
double beside_us(Session& session, const std::function<void()>& call) {
  const auto before = session.stages().front();
  const auto start = Clock::now();
  double sum_us = 0;
  while (us_since(start) < 1e5) {
    const auto began = Clock::now();
    call();
    sum_us += us_since(began);
  }
  const auto after = session.stages().front();
  sum_us -= std::chrono::duration<double, std::micro>(after.busy - before.busy).count();
  return sum_us / static_cast<double>(after.requests - before.requests);
}

json::object thread_overhead(const ZooEntry& entry) {
  constexpr std::size_t pairs = 20;
  const Model model = Model::from_module(make_zoo_model(entry.name, 1).value()).value();
  const Values inputs = example_of(entry);
  auto runtime = Runtime::create({{"node", 1.0_cpu, 4_GiB}}).value();
  SessionOptions options;
  options.workers = WorkerKind::thread;
  Session session = runtime.open(model, whole_on(model, "node"), inputs, options).value();
  auto forms = direct_forms(model);
  for (int warm = 0; warm < 10; ++warm) {
    for (const DirectForm& form : forms) (void)form.executor->run(inputs).value();
    (void)session.infer(inputs).value();
  }
  bool is_known = false;
  DirectForm& direct = form_of(session, forms, inputs, is_known);
  options.spin = 10ms;
  Session spinning = runtime.open(model, whole_on(model, "node"), inputs, options).value();
  std::vector<double> plain;
  std::vector<double> added;
  std::map<std::string, std::vector<double>> beside;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    double through = 0;
    double by_hand = 0;
    const auto measure_session = [&] { through = median_us([&] { (void)session.infer(inputs).value(); }); };
    if (pair % 2 == 0) measure_session();
    by_hand = median_us([&] { (void)direct.executor->run(inputs).value(); });
    if (pair % 2 != 0) measure_session();
    plain.push_back(by_hand);
    added.push_back(through - by_hand);
    beside["infer"].push_back(beside_us(session, [&] { (void)session.infer(inputs).value(); }));
    beside["async"].push_back(
        beside_us(session, [&] { (void)session.async_infer(inputs, boost::asio::use_future).get().value(); }));
    beside["spinning"].push_back(beside_us(spinning, [&] { (void)spinning.infer(inputs).value(); }));
  }
  const double direct_us = quantile(plain, 0.5);
  return {{"model", entry.name},
          {"form", direct.name},
          {"same_form", is_known},
          {"pairs", pairs},
          {"direct_us", direct_us},
          {"direct_us_min", quantile(plain, 0)},
          {"direct_us_max", quantile(plain, 1)},
          {"added_us", quantile(added, 0.5)},
          {"added_us_min", quantile(added, 0)},
          {"added_us_q25", quantile(added, 0.25)},
          {"added_us_q75", quantile(added, 0.75)},
          {"added_us_max", quantile(added, 1)},
          {"beside_us", quantile(beside["infer"], 0.5)},
          {"beside_async_us", quantile(beside["async"], 0.5)},
          {"beside_spinning_us", quantile(beside["spinning"], 0.5)},
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

/// Counts what happens to the workers of a session, and remembers when.
class Events {
 public:
  std::function<void(const SessionEvent&)> listener() {
    return [this](const SessionEvent& event) {
      const std::lock_guard lock(mutex_);
      ++counts_[event.kind];
      times_[event.kind] = event.time;
      changed_.notify_all();
    };
  }
  std::size_t count(SessionEvent::Kind kind) {
    const std::lock_guard lock(mutex_);
    return counts_[kind];
  }
  /// When the one after the first `before` of its kind happened.
  Clock::time_point wait_for_next(SessionEvent::Kind kind, std::size_t before) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, 30s, [&] { return counts_[kind] > before; })) {
      throw std::runtime_error(fmt::format("no '{}' within 30 s", to_string(kind)));
    }
    return times_[kind];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<SessionEvent::Kind, std::size_t> counts_;
  std::map<SessionEvent::Kind, Clock::time_point> times_;
};

/// Sends one request after the other, from several threads.
class Load {
 public:
  Load(Session& session, const Values& inputs, std::size_t callers) {
    for (std::size_t i = 0; i < callers; ++i) {
      threads_.emplace_back([&, this] {
        while (!ends_) failures_ += session.infer(inputs) ? 0U : 1U;
      });
    }
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load() {
    ends_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  [[nodiscard]] std::size_t failures() const noexcept { return failures_; }

 private:
  std::atomic<bool> ends_ = false;
  std::atomic<std::size_t> failures_ = 0;
  std::vector<std::thread> threads_;
};

json::object stall() {
  constexpr std::size_t rounds = 11;
  constexpr std::chrono::milliseconds limit = 200ms;
  constexpr double slack_ms = 50;
  const Model model = Model::from_module(test::module_from(R"(
    def forward(self, x):
        return torch.tanh(torch.matmul(x, x)) + 1.0
  )"))
                          .value();
  const Values inputs{at::rand({128, 128})};
  Events events;
  SessionOptions options;
  options.stall_timeout = limit;
  options.on_event = events.listener();
  auto runtime = Runtime::create({{"node", 1.0_cpu, 1_GiB}}).value();
  Session session = runtime.open(model, whole_on(model, "node"), inputs, options).value();
  std::mt19937 random(1);
  std::vector<double> seen;
  const Load load(session, inputs, 4);
  for (std::size_t round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(500ms + std::chrono::milliseconds(random() % 100));  // Anywhere between two sweeps.
    const std::size_t stalls = events.count(SessionEvent::Kind::worker_stalled);
    const std::size_t restarts = events.count(SessionEvent::Kind::worker_restarted);
    const auto start = Clock::now();
    ::kill(session.stages().front().pid, SIGSTOP);
    const auto told = events.wait_for_next(SessionEvent::Kind::worker_stalled, stalls);
    seen.push_back(std::chrono::duration<double, std::milli>(told - start).count());
    events.wait_for_next(SessionEvent::Kind::worker_restarted, restarts);
  }
  const auto limit_ms = static_cast<double>(limit.count());
  return {{"limit_ms", limit_ms},
          {"allowed_ms", limit_ms + limit_ms / 4 + slack_ms},
          {"rounds", rounds},
          {"seen_ms", quantile(seen, 0.5)},
          {"seen_ms_min", quantile(seen, 0)},
          {"seen_ms_max", quantile(seen, 1)},
          {"false_alarms", events.count(SessionEvent::Kind::worker_stalled) - rounds},
          {"failed_requests", load.failures()}};
}

/// Where the operators of hop_operators.cpp leave their times.
class Stamps {
 public:
  Stamps() { ::setenv(bench::stamps_variable, fmt::format("/proc/{}/fd/{}", ::getpid(), file_.fd()).c_str(), 1); }
  /// From the producer's output to the consumer's first operator.
  [[nodiscard]] double hop_us() const { return us_between(bench::Stamp::output_ready, bench::Stamp::operator_started); }
  /// One copy of the output, right before.
  [[nodiscard]] double copy_us() const { return us_between(bench::Stamp::copy_began, bench::Stamp::output_ready); }

 private:
  [[nodiscard]] double us_between(bench::Stamp first, bench::Stamp second) const {
    const auto* words = reinterpret_cast<const std::uint64_t*>(memory_.bytes().data());
    const std::uint64_t began = __atomic_load_n(words + first, __ATOMIC_ACQUIRE);
    const std::uint64_t ended = __atomic_load_n(words + second, __ATOMIC_ACQUIRE);
    if (began == 0 || ended < began) throw std::runtime_error("the workers have not stamped their times");
    return static_cast<double>(ended - began) / 1e3;
  }

  ipc::MemoryFile file_ = ipc::MemoryFile::create("amp4ec-bench-stamps", 4_KiB).value();
  ipc::Mapping<std::byte> memory_ = file_.map().value();
};

void pin(pid_t process, int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (::sched_setaffinity(process, sizeof one, &one) != 0) throw std::runtime_error("cannot pin a worker to a CPU");
}

/// The first and the last that this process may use.
std::pair<int, int> two_cpus() {
  cpu_set_t usable;
  ::sched_getaffinity(0, sizeof usable, &usable);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &usable)) cpus.push_back(cpu);
  }
  return {cpus.front(), cpus.back()};
}

/// Where the two workers of a hop run, and how the second waits.
enum class Place { one_cpu, spinning, across };
std::string_view to_string(Place place) {
  return place == Place::one_cpu ? "one_cpu" : place == Place::spinning ? "spinning" : "across";
}

json::object hop(const Stamps& stamps, Place place, std::int64_t bytes) {
  const std::size_t rounds = bytes > 1 << 20 ? 300 : 2000;
  const Model model = Model::from_module(test::module_from_classes(R"(
class M(Module):
  __parameters__ = []
  __buffers__ = []
  def forward(self: __torch__.M, x: Tensor) -> Tensor:
    y = ops.amp4ec_bench.output_ready(torch.neg(x))
    z = ops.amp4ec_bench.first_operator(y)
    return torch.neg(z)
)"))
                          .value();
  const Values inputs{at::rand({bytes / 4})};
  const LayerGraph graph = model.layer_graph(inputs).value();
  const auto cut = static_cast<std::size_t>(
      std::ranges::find_if(graph.layers,
                           [](const Layer& layer) { return layer.name.find("output_ready") != std::string::npos; }) -
      graph.layers.begin());
  Pipeline pipeline;
  pipeline.stages.resize(2);
  pipeline.stages[0].node = "a";
  pipeline.stages[0].last_layer = cut;
  pipeline.stages[1].node = "b";
  pipeline.stages[1].first_layer = cut + 1;
  pipeline.stages[1].last_layer = model.layer_count() - 1;
  Plan plan;
  plan.pipelines.push_back(pipeline);
  SessionOptions options;
  options.form = Form::Plain;
  if (place == Place::spinning) options.spin = 10ms;  // Longer than a request takes.
  auto runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 1.0_cpu, 1_GiB}}).value();
  Session session = runtime.open(model, plan, inputs, options).value();
  const auto [first, last] = two_cpus();
  if (place != Place::one_cpu && first == last) throw std::runtime_error("a hop across CPUs needs two");
  pin(session.stages()[0].pid, first);
  pin(session.stages()[1].pid, place == Place::one_cpu ? first : last);

  std::vector<double> operator_to_operator;
  std::vector<double> copies;
  std::vector<double> counted;
  for (int warm = 0; warm < 50; ++warm) (void)session.infer(inputs).value();
  auto before = session.stages()[1].hop;
  for (std::size_t round = 0; round < rounds; ++round) {
    (void)session.infer(inputs).value();
    operator_to_operator.push_back(stamps.hop_us());
    copies.push_back(stamps.copy_us());
    const auto after = session.stages()[1].hop;
    counted.push_back(std::chrono::duration<double, std::micro>(after - before).count());
    before = after;
  }
  return {{"place", to_string(place)},
          {"bytes", bytes},
          {"requests", rounds},
          {"p50_us", quantile(operator_to_operator, 0.5)},
          {"p99_us", quantile(operator_to_operator, 0.99)},
          {"copy_p50_us", quantile(copies, 0.5)},
          {"counted_p50_us", quantile(counted, 0.5)},
          {"counted_p99_us", quantile(counted, 0.99)}};
}

json::array run_threads(std::string_view model) {
  at::set_num_threads(1);  // As many as the node has CPUs.
  json::array rows;
  for (const ZooEntry& entry : zoo_entries()) {
    if (model.empty() || model == entry.name) rows.push_back(thread_overhead(entry));
  }
  return rows;
}

json::array run_respawn(std::string_view) {
  return {respawn(false), respawn(true)};
}

json::array run_stall(std::string_view) {
  return {stall()};
}

json::array run_hop(std::string_view) {
  const Stamps stamps;  // Before any worker: they inherit the environment.
  if (const auto loaded = load_operator_library(AMP4EC_BENCH_OPERATORS); !loaded) {
    throw std::runtime_error(loaded.error().what());
  }
  json::array rows;
  for (const Place place : {Place::one_cpu, Place::spinning, Place::across}) {
    for (const std::int64_t bytes : {64, 4 << 20}) rows.push_back(hop(stamps, place, bytes));
  }
  return rows;
}

void print(std::string_view what, const json::object& row) {
  const auto number = [&](const char* name) { return row.at(name).to_number<double>(); };
  const auto text = [&](const char* name) { return std::string_view(row.at(name).as_string()); };
  if (what == "threads") {
    fmt::print(
        "{:<14} direct {:>8.0f} us ({:.0f} to {:.0f}; {}{}), a worker thread adds {:>5.0f} us (quartiles {:.0f} "
        "and {:.0f}, {:.0f} to {:.0f} in {} pairs), allowed {:.0f}; beside the worker's own time {:.0f} (by "
        "async_infer {:.0f}, spinning {:.0f})\n",
        text("model"), number("direct_us"), number("direct_us_min"), number("direct_us_max"), text("form"),
        row.at("same_form").as_bool() ? "" : ", the fastest: the worker's is not known", number("added_us"),
        number("added_us_q25"), number("added_us_q75"), number("added_us_min"), number("added_us_max"), number("pairs"),
        number("allowed_us"), number("beside_us"), number("beside_async_us"), number("beside_spinning_us"));
  } else if (what == "respawn") {
    fmt::print("{:<16} death seen after {:>4.1f} ms (at most {:.1f}), answer after {:>4.0f} ms ({:.0f} to {:.0f})\n",
               row.at("standby").as_bool() ? "with a standby" : "without", number("detected_ms"),
               number("detected_ms_max"), number("answered_ms"), number("answered_ms_min"), number("answered_ms_max"));
  } else if (what == "stall") {
    fmt::print(
        "limit {:.0f} ms: a stall seen after {:.0f} ms ({:.0f} to {:.0f} in {} rounds), allowed {:.0f}; {} false "
        "alarms, {} failed requests\n",
        number("limit_ms"), number("seen_ms"), number("seen_ms_min"), number("seen_ms_max"), number("rounds"),
        number("allowed_ms"), number("false_alarms"), number("failed_requests"));
  } else {
    fmt::print(
        "{:<8} {:>8} bytes: operator to operator p50 {:>7.1f} us, p99 {:>7.1f}; of that, counted by the worker "
        "(hand-over to receipt) p50 {:>7.1f}, p99 {:>7.1f}; one copy there p50 {:>7.1f}\n",
        text("place"), number("bytes"), number("p50_us"), number("p99_us"), number("counted_p50_us"),
        number("counted_p99_us"), number("copy_p50_us"));
  }
}

}  // namespace

int main(int argc, char** argv) try {
  static const std::map<std::string_view, json::array (*)(std::string_view)> modes{
      {"threads", run_threads}, {"respawn", run_respawn}, {"stall", run_stall}, {"hop", run_hop}};
  const std::string_view what = argc > 1 ? argv[1] : "";
  const auto mode = modes.find(what);
  if (mode == modes.end()) {
    fmt::print(stderr, "usage: amp4ec_session_bench threads [MODEL]|respawn|stall|hop [--json]\n");
    return 2;
  }
  const bool as_json = std::string_view(argv[argc - 1]) == "--json";
  const json::array rows = mode->second(argc > (as_json ? 3 : 2) ? argv[2] : "");
  if (as_json) {
    fmt::print("{}\n", json::serialize(rows));
  } else {
    for (const json::value& row : rows) print(what, row.as_object());
  }
  return 0;
} catch (const std::exception& failure) {
  fmt::print(stderr, "amp4ec_session_bench: {}\n", failure.what());
  return 1;
}
