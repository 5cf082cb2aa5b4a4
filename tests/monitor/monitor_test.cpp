// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/monitor.hpp>

#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <future>
#include <optional>
#include <stdexcept>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace std::chrono_literals;

namespace {
/// An executor with threads of its own.
class Running {
 public:
  explicit Running(int threads) : guard_(context_.get_executor()) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { context_.run(); });
  }
  ~Running() {
    guard_.reset();
    for (auto& thread : threads_) thread.join();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  boost::asio::any_io_executor executor() { return context_.get_executor(); }

 private:
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
  std::vector<std::thread> threads_;
};

NodeSource counting_node(std::string name, std::atomic<std::uint64_t>& requests) {
  return {std::move(name), 1.0_cpu, 0_B, {}, [&requests]() -> Result<WorkerReading> {
            const auto done = ++requests;
            return WorkerReading{true, 0, done, std::chrono::nanoseconds(1000 * done)};
          }};
}
}  // namespace

TEST_CASE("rounds by hand: snapshot, latest, history and its window") {
  boost::asio::io_context context;
  Monitor monitor(context.get_executor(), 3);
  std::atomic<std::uint64_t> high{0}, low{0};
  REQUIRE(monitor.add_node(counting_node("high", high)));
  REQUIRE(monitor.add_node(counting_node("low", low)));
  CHECK(monitor.latest().empty());
  CHECK(monitor.snapshot("high").error().code == Errc::InvalidArgument);
  for (int i = 0; i < 5; ++i) monitor.sample();

  const auto history = monitor.history("high");
  REQUIRE(history.size() == 3);
  CHECK(history.front().requests_done == 3);
  CHECK(history.back().requests_done == 5);
  CHECK(monitor.snapshot("high")->requests_done == 5);
  const auto latest = monitor.latest();
  REQUIRE(latest.size() == 2);
  CHECK(latest[0].node == "high");
  CHECK(latest[1].node == "low");

  monitor.remove_node("low");
  monitor.sample();
  CHECK(low == 6);
  CHECK(monitor.history("low").empty());
  CHECK(monitor.latest().size() == 1);
}

TEST_CASE("names are unique, limits follow, the interval has a floor") {
  boost::asio::io_context context;
  Monitor monitor(context.get_executor());
  REQUIRE(monitor.add_node({"high", 1.0_cpu, 1_GiB, {}, {}}));
  CHECK(monitor.add_node({"high", 1.0_cpu, 1_GiB, {}, {}}).error().code == Errc::InvalidArgument);
  CHECK(monitor.add_node({"", 1.0_cpu, 1_GiB, {}, {}}).error().code == Errc::InvalidArgument);
  REQUIRE(monitor.set_limits("high", 0.5_cpu, 2_GiB));
  CHECK(monitor.set_limits("low", 0.5_cpu, 2_GiB).error().code == Errc::InvalidArgument);
  monitor.sample();
  CHECK(monitor.snapshot("high")->cpu_quota == 0.5_cpu);
  CHECK(monitor.snapshot("high")->memory_limit == 2_GiB);
  CHECK(monitor.start(9ms).error().code == Errc::InvalidArgument);
  CHECK(monitor.start(10ms, 9ms).error().code == Errc::InvalidArgument);
}

TEST_CASE("figures of the user's own come and go, from within their readers too") {
  boost::asio::io_context context;
  Monitor monitor(context.get_executor(), 2);
  NodeSource source{"high", 1.0_cpu, 0_B, {}, {}};
  source.figures.push_back({"first", []() -> Result<double> { return 1.0; }});
  auto twice = source;
  twice.figures.push_back(twice.figures.front());
  CHECK(monitor.add_node(twice).error().code == Errc::InvalidArgument);
  REQUIRE(monitor.add_node(source));
  CHECK(monitor.add_figure("low", {"x", {}}).error().code == Errc::InvalidArgument);
  CHECK(monitor.add_figure("high", {"first", {}}).error().code == Errc::InvalidArgument);
  CHECK(monitor.remove_figure("low", "x").error().code == Errc::InvalidArgument);
  const auto kept_alive = std::make_shared<int>(7);
  REQUIRE(monitor.add_figure("high", {"last", [&monitor, kept_alive]() -> Result<double> {
                                        CHECK(monitor.remove_figure("high", "last"));
                                        CHECK(monitor.add_figure("high", {"next", {}}));
                                        return *kept_alive;  // still ours while we run
                                      }}));
  for (int i = 0; i < 4; ++i) monitor.sample();
  CHECK(kept_alive.use_count() == 1);
  const auto sample = monitor.snapshot("high").value();
  REQUIRE(sample.user.size() == 2);
  CHECK(sample.user[0].name == "first");
  CHECK(sample.user[0].value == 1.0);
  CHECK(sample.user[1].name == "next");
  CHECK(monitor.remove_figure("high", "first"));
  CHECK(monitor.remove_figure("high", "first"));
  monitor.sample();
  CHECK(monitor.snapshot("high")->user.size() == 1);
  CHECK(monitor.history("high").front().user.size() == 2);
}

TEST_CASE("a view shows the latest sample, whatever becomes of node and monitor") {
  boost::asio::io_context context;
  std::optional<Monitor> monitor(std::in_place, context.get_executor());
  std::atomic<std::uint64_t> high{0}, low{0};
  CHECK_FALSE(NodeView().load());
  CHECK(monitor->view("high").error().code == Errc::InvalidArgument);
  REQUIRE(monitor->add_node(counting_node("high", high)));
  REQUIRE(monitor->add_node(counting_node("low", low)));
  const auto view = monitor->view("high").value();
  const auto other = monitor->view("low").value();
  CHECK_FALSE(view.load());
  for (std::uint64_t round = 1; round <= 3; ++round) {
    monitor->sample();
    REQUIRE(view.load());
    CHECK(view.load()->requests_done == round);
    CHECK(view.load()->time == monitor->snapshot("high")->time);
  }
  monitor->remove_node("high");
  CHECK_FALSE(view.load());
  REQUIRE(monitor->add_node(counting_node("high", high)));
  monitor->sample();
  CHECK_FALSE(view.load());  // of the node that is gone
  CHECK(monitor->view("high")->load());
  CHECK(other.load());
  monitor.reset();
  CHECK_FALSE(other.load());
}

TEST_CASE("a subscriber that subscribes others hears a sample once") {
  boost::asio::io_context context;
  Monitor monitor(context.get_executor());
  REQUIRE(monitor.add_node({"high", 1.0_cpu, 0_B, {}, {}}));
  std::vector<Subscription> subscriptions;
  int heard = 0;
  Monitor::Callback multiply = [&](const Sample&) {
    ++heard;
    subscriptions.push_back(monitor.subscribe(multiply));
  };
  subscriptions.push_back(monitor.subscribe(multiply));
  monitor.sample();
  CHECK(heard == 1);
  monitor.sample();
  CHECK(heard == 3);
}

TEST_CASE("a callback's own round does not change the sample that the others hear") {
  boost::asio::io_context context;
  Monitor monitor(context.get_executor());
  std::atomic<std::uint64_t> requests{0};
  REQUIRE(monitor.add_node(counting_node("high", requests)));
  bool nested = false;
  const auto first = monitor.subscribe([&](const Sample& sample) {
    if (std::exchange(nested, true)) return;
    const auto before = sample.requests_done;
    monitor.sample();
    CHECK(sample.requests_done == before);
  });
  std::vector<std::uint64_t> heard;
  const auto second = monitor.subscribe([&](const Sample& sample) { heard.push_back(sample.requests_done); });
  monitor.sample();
  CHECK(heard == std::vector<std::uint64_t>{2, 1});
}

TEST_CASE("the slow tier is read at its own interval") {
  Running running(1);
  Monitor monitor(running.executor());
  std::atomic<int> fast{0}, slow{0};
  NodeSource source{"high", 1.0_cpu, 0_B, {}, {}};
  source.read_usage = [&]() -> Result<cgroup::Usage> {
    ++fast;
    return cgroup::Usage{};
  };
  source.read_details = [&]() -> Result<cgroup::UsageDetails> {
    ++slow;
    return cgroup::UsageDetails{};
  };
  REQUIRE(monitor.add_node(source));
  REQUIRE(monitor.start(10ms, 50ms));
  while (fast < 40) std::this_thread::sleep_for(1ms);
  monitor.stop();
  CHECK(slow > 1);
  CHECK(slow <= fast / 4 + 2);  // a late round may bring the slow tier nearer, by less than a round
  const auto history = monitor.history("high");
  const auto distinct = [&] {
    std::size_t count = 1;
    for (std::size_t i = 1; i < history.size(); ++i) count += history[i].slow_time != history[i - 1].slow_time ? 1 : 0;
    return count;
  }();
  CHECK(distinct > 1);
  CHECK(distinct < history.size());
}

TEST_CASE("subscribers hear every sample until they leave") {
  boost::asio::io_context context;
  std::optional<Monitor> monitor(std::in_place, context.get_executor());
  REQUIRE(monitor->add_node({"high", 1.0_cpu, 0_B, {}, {}}));
  int heard = 0;
  Subscription other = monitor->subscribe([&](const Sample&) { heard += 100; });
  {
    const Subscription subscription = monitor->subscribe([&](const Sample& sample) {
      CHECK(sample.node == "high");
      ++heard;
    });
    monitor->sample();
    CHECK(heard == 101);
  }
  monitor->sample();
  CHECK(heard == 201);
  other.reset();
  monitor->sample();
  CHECK(heard == 201);

  Subscription moved = monitor->subscribe([&](const Sample&) { ++heard; });
  other = std::move(moved);
  monitor->sample();
  CHECK(heard == 202);
  monitor.reset();  // the subscription outlives the monitor
}

TEST_CASE("what a callback or a figure holds may use the monitor when it goes") {
  boost::asio::io_context context;
  Monitor monitor(context.get_executor());
  REQUIRE(monitor.add_node({"high", 1.0_cpu, 0_B, {}, {}}));
  int gone = 0;
  const auto held = [&] {
    return std::shared_ptr<void>(nullptr, [&](void*) {
      (void)monitor.latest();  // would wait for ever for a lock that this thread holds
      ++gone;
    });
  };
  monitor.subscribe([kept = held()](const Sample&) {}).reset();
  CHECK(gone == 1);
  const auto figure = [&](std::string name) {
    return FigureSource{std::move(name), [kept = held()]() -> Result<double> { return 1.0; }};
  };
  REQUIRE(monitor.add_figure("high", figure("figure")));
  CHECK_FALSE(monitor.add_figure("high", figure("figure")));
  CHECK(gone == 2);
  CHECK_FALSE(monitor.add_figure("low", figure("figure")));
  CHECK(gone == 3);
  REQUIRE(monitor.remove_figure("high", "figure"));
  CHECK(gone == 4);
}

TEST_CASE("a callback that throws keeps nobody else from hearing") {
  boost::asio::io_context context;
  Monitor monitor(context.get_executor());
  std::atomic<std::uint64_t> requests{0};
  REQUIRE(monitor.add_node(counting_node("node", requests)));
  int heard = 0;
  const auto throws = monitor.subscribe([](const Sample&) { throw std::runtime_error("the host's own"); });
  const auto hears = monitor.subscribe([&](const Sample&) { ++heard; });
  for (int i = 0; i < 4; ++i) CHECK_NOTHROW(monitor.sample());
  CHECK(heard == 4);
}

TEST_CASE("a callback may unsubscribe itself and others, remove nodes, stop and destroy the monitor") {
  boost::asio::io_context context;
  std::optional<Monitor> monitor(std::in_place, context.get_executor());
  std::atomic<std::uint64_t> a{0}, b{0};
  REQUIRE(monitor->add_node(counting_node("a", a)));
  REQUIRE(monitor->add_node(counting_node("b", b)));
  Subscription first, second;
  int first_heard = 0;
  int second_heard = 0;
  first = monitor->subscribe([&](const Sample&) {
    ++first_heard;
    second.reset();
    first.reset();
    monitor->remove_node("b");
  });
  second = monitor->subscribe([&](const Sample&) { ++second_heard; });
  monitor->sample();
  CHECK(first_heard == 1);
  CHECK(second_heard == 0);
  CHECK(b == 1);  // read when it joined only

  REQUIRE(monitor->add_node(counting_node("b", b)));
  const Subscription last = monitor->subscribe([&](const Sample&) { monitor.reset(); });
  monitor->sample();
  CHECK_FALSE(monitor.has_value());
  CHECK(b == 2);
}

TEST_CASE("the timer samples until stop, and starts again") {
  Running running(2);
  std::atomic<std::uint64_t> requests{0};
  Monitor monitor(running.executor());
  REQUIRE(monitor.add_node(counting_node("high", requests)));
  for (int round = 0; round < 2; ++round) {
    std::promise<void> enough;
    std::atomic<int> left{5};
    const Subscription subscription = monitor.subscribe([&](const Sample&) {
      if (--left == 0) enough.set_value();
    });
    REQUIRE(monitor.start(10ms));
    enough.get_future().wait();
    monitor.stop();
    const auto at_stop = requests.load();
    monitor.stop();
    CHECK(requests == at_stop);
  }
  const auto history = monitor.history("high");
  REQUIRE(history.size() >= 10);
  for (std::size_t i = 1; i < history.size(); ++i) CHECK(history[i].time > history[i - 1].time);
}

TEST_CASE("nothing is called after stop, unsubscribe, removal or destruction while the executor runs") {
  Running running(2);
  for (int round = 0; round < 20; ++round) {
    auto alive = std::make_unique<std::atomic<bool>>(true);  // freed at once: a late call is a use after free
    const auto touch = [flag = alive.get()] { return flag->load(); };
    std::promise<void> sampled;
    std::atomic<bool> told{false};
    {
      Monitor monitor(running.executor());
      REQUIRE(monitor.add_node({"high", 1.0_cpu, 0_B, {}, [touch]() -> Result<WorkerReading> {
                                  return WorkerReading{touch(), 0, 0, 0ns};
                                }}));
      Subscription subscription = monitor.subscribe([&, touch](const Sample& sample) {
        if (sample.alive && touch() && !told.exchange(true)) sampled.set_value();
      });
      REQUIRE(monitor.start(10ms));
      sampled.get_future().wait();
      if (round % 4 == 0) monitor.stop();
      if (round % 4 == 1) subscription.reset();
      if (round % 4 == 2) monitor.remove_node("high");
      if (round % 2 == 1) continue;  // the destructors alone must do
    }
    alive.reset();
  }
}

TEST_CASE("all methods may be called at once") {
  Running running(2);
  Monitor monitor(running.executor());
  std::atomic<std::uint64_t> requests{0};
  REQUIRE(monitor.add_node(counting_node("high", requests)));
  REQUIRE(monitor.start(10ms));
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int id = 0; id < 3; ++id) {
    threads.emplace_back([&, id] {
      const auto name = fmt::format("node-{}", id);
      std::atomic<std::uint64_t> own{0};
      for (int i = 0; i < 200; ++i) {
        (void)monitor.add_node(counting_node(name, own));
        const Subscription subscription = monitor.subscribe([](const Sample&) {});
        monitor.sample();
        (void)monitor.latest();
        (void)monitor.history("high");
        (void)monitor.snapshot("high");
        if (const auto view = monitor.view(i % 2 == 0 ? "high" : name)) (void)view->load();
        (void)monitor.add_figure(name, {"figure", []() -> Result<double> { return 1.0; }, Tier::fast});
        (void)monitor.remove_figure(name, "figure");
        (void)monitor.set_limits("high", 1.0_cpu, 0_B);
        if (i % 50 == id) (void)monitor.start(10ms);
        monitor.remove_node(name);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(monitor.history("high").size() == Monitor::default_window);
}
