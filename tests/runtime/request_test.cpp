// SPDX-License-Identifier: Apache-2.0
// What a caller can ask of one request: a deadline, a priority, its cancellation; and the orderly end of a session.
#include "runtime/support.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <mutex>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::test;
using namespace std::chrono_literals;

namespace {

struct OneWorker {
  explicit OneWorker(SessionOptions options = {})
      : session(runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input, std::move(options))
                    .value()),
        worker(session.stages().front().pid) {}
  ~OneWorker() { kill(worker, SIGCONT); }
  OneWorker(const OneWorker&) = delete;
  OneWorker& operator=(const OneWorker&) = delete;

  Model model = small_model();
  Values input = random_inputs({3, 4}, 1).front();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  Session session;
  pid_t worker;
};

}  // namespace

TEST_CASE("a request fails when its own deadline passes, others do not") {
  OneWorker one;
  kill(one.worker, SIGSTOP);
  auto late = one.session.async_infer(one.input, {std::chrono::steady_clock::now() + 50ms}, boost::asio::use_future);
  auto patient = one.session.async_infer(one.input, boost::asio::use_future);
  CHECK(late.get().error().code == Errc::DeadlineExceeded);
  CHECK(one.session.infer(one.input, {std::chrono::steady_clock::now() - 1ms}).error().code == Errc::DeadlineExceeded);
  kill(one.worker, SIGCONT);
  CHECK(patient.get().has_value());
}

TEST_CASE("a cancelled request completes at once, and once") {
  OneWorker one;
  kill(one.worker, SIGSTOP);
  boost::asio::cancellation_signal signal;
  std::atomic<int> completions = 0;
  std::promise<Result<Value>> completed;
  one.session.async_infer(one.input, boost::asio::bind_cancellation_slot(signal.slot(), [&](Result<Value> result) {
                            if (++completions == 1) completed.set_value(std::move(result));
                          }));
  auto other = one.session.async_infer(one.input, boost::asio::use_future);
  signal.emit(boost::asio::cancellation_type::terminal);
  CHECK(completed.get_future().get().error().code == Errc::Cancelled);
  signal.emit(boost::asio::cancellation_type::terminal);
  kill(one.worker, SIGCONT);
  CHECK(other.get().has_value());
  for (int call = 0; call < 4; ++call) CHECK(one.session.infer(one.input).has_value());
  CHECK(completions == 1);
}

TEST_CASE("requests that wait go by priority, then by age") {
  SessionOptions options;
  options.max_in_flight = 1;
  options.max_waiting = 4;
  OneWorker one(options);
  kill(one.worker, SIGSTOP);
  std::mutex mutex;
  std::vector<int> order;
  std::promise<void> all;
  const auto note = [&](int number) {
    return [&, number](const Result<Value>& result) {
      const std::lock_guard lock(mutex);
      order.push_back(result ? number : -number);
      if (order.size() == 5) all.set_value();
    };
  };
  one.session.async_infer(one.input, note(1));
  one.session.async_infer(one.input, {{}, 0}, note(4));
  one.session.async_infer(one.input, {{}, 0}, note(5));
  one.session.async_infer(one.input, {{}, 7}, note(2));
  one.session.async_infer(one.input, {{}, 7}, note(3));
  CHECK(one.session.infer(one.input).error().code == Errc::Overloaded);
  kill(one.worker, SIGCONT);
  all.get_future().get();
  CHECK(order == std::vector{1, 2, 3, 4, 5});
}

TEST_CASE("draining answers what is under way and refuses what comes") {
  OneWorker one;
  kill(one.worker, SIGSTOP);
  auto answer = one.session.async_infer(one.input, boost::asio::use_future);
  auto drained = std::async(std::launch::async, [&] { return one.session.drain(60s); });
  while (one.session.infer(one.input, {std::chrono::steady_clock::now() + 1ms}).error().code != Errc::SessionClosed) {
  }
  kill(one.worker, SIGCONT);
  CHECK(drained.get().has_value());
  CHECK(answer.get().has_value());

  OneWorker stuck;
  kill(stuck.worker, SIGSTOP);
  auto lost = stuck.session.async_infer(stuck.input, boost::asio::use_future);
  CHECK(stuck.session.drain(50ms).error().code == Errc::WorkerUnresponsive);
  CHECK(lost.get().error().code == Errc::SessionClosed);
}

TEST_CASE("a session is not opened on the runtime's own thread, which would wait for itself") {
  auto runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  const Model model = small_model();
  const Values inputs = random_inputs({3, 4}, 1).front();
  const Plan plan = plan_of({pipeline({{"a", 0, model.layer_count() - 1}})});
  Session session = runtime.open(model, plan, inputs).value();
  std::promise<Errc> refused;
  session.async_infer(inputs, [&](const Result<Value>&) {
    const auto second = runtime.open(model, plan, inputs);
    refused.set_value(second ? Errc::Cancelled : second.error().code);
  });
  CHECK(refused.get_future().get() == Errc::NotSupported);
}

TEST_CASE("what would wait on the runtime's own thread for that thread is refused") {
  OneWorker one;
  std::promise<std::pair<Errc, Errc>> refused;
  one.session.async_infer(one.input, [&](const Result<Value>&) {
    refused.set_value({one.session.infer(one.input).error().code, one.session.drain(1s).error().code});
  });
  const auto codes = refused.get_future().get();
  CHECK(codes.first == Errc::NotSupported);
  CHECK(codes.second == Errc::NotSupported);
}
