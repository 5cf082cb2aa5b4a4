// SPDX-License-Identifier: Apache-2.0
#include "runtime/fork_server.hpp"

#include "runtime/runtime_state.hpp"
#include "runtime/stage_worker.hpp"
#include "runtime/support.hpp"
#include "runtime/worker_process.hpp"

#include <boost/asio/use_future.hpp>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <future>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>

#include <sys/wait.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::test;

namespace {

namespace fs = std::filesystem;

std::string text_of(pid_t process, const std::string& name) {
  std::ifstream file("/proc/" + std::to_string(process) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

pid_t parent_of(pid_t process) {
  const std::string status = text_of(process, "status");
  const auto at = status.find("PPid:");
  return at == std::string::npos ? -1 : static_cast<pid_t>(std::strtol(status.c_str() + at + 5, nullptr, 10));
}

std::size_t entries_of(pid_t process, const std::string& folder) {
  const fs::directory_iterator entries("/proc/" + std::to_string(process) + "/" + folder);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

Session open_whole(Runtime& runtime, const Model& model, const std::vector<std::string>& nodes, const Values& input) {
  std::vector<Pipeline> replicas;
  replicas.reserve(nodes.size());
  for (const std::string& node : nodes) replicas.push_back(pipeline({{node, 0, model.layer_count() - 1}}));
  SessionOptions options;
  options.policy = "round-robin";
  return runtime.open(model, plan_of(std::move(replicas)), input, options).value();
}

}  // namespace

TEST_CASE("workers are forked by a process for each number of threads, and have so many") {
  const Model model = small_model();
  const Values input{at::full({8, 100'000}, 0.5)};  // Large enough for several threads.
  Runtime runtime =
      Runtime::create({{"one", 1.9_cpu, 1_GiB}, {"two", 2.0_cpu, 1_GiB}, {"low", 0.4_cpu, 1_GiB}}).value();
  Session session = open_whole(runtime, model, {"one", "two", "low"}, input);
  const auto stages = session.stages();
  REQUIRE(stages.size() == 3);
  const pid_t one = parent_of(stages[0].pid);
  const pid_t two = parent_of(stages[1].pid);
  CHECK(parent_of(stages[2].pid) == one);
  CHECK(one != two);
  for (const pid_t server : {one, two}) {
    CHECK(parent_of(server) == getpid());
    CHECK(text_of(server, "comm") == "amp4ec-fork\n");
    CHECK(entries_of(server, "task") == 1);
  }
  for (const StageReport& stage : stages) CHECK(text_of(stage.pid, "comm") == "amp4ec-worker\n");
  // One more watches for the end of the host.
  CHECK(entries_of(stages[0].pid, "task") == 2);
  CHECK(entries_of(stages[1].pid, "task") == 3);
  CHECK(entries_of(stages[2].pid, "task") == 2);
}

TEST_CASE("when the process that forks workers dies, they work on, and the next worker has another") {
  const Model model = small_model();
  const auto input = random_inputs({3, 4}, 1).front();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  Session session = open_whole(runtime, model, {"a"}, input);
  const pid_t worker = session.stages().front().pid;
  const pid_t server = parent_of(worker);
  kill(server, SIGKILL);
  while (parent_of(worker) == server) usleep(1000);
  CHECK(session.infer(input).has_value());

  Session next = open_whole(runtime, model, {"a"}, input);
  CHECK(next.infer(input).has_value());
  CHECK(parent_of(next.stages().front().pid) != server);
  CHECK(parent_of(parent_of(next.stages().front().pid)) == getpid());
  CHECK(waitpid(server, nullptr, WNOHANG) == -1);  // Reaped.

  // How the first worker ends, nobody can say any more; that it has ended is seen, and another takes its place.
  kill(worker, SIGSTOP);
  auto answer = session.async_infer(input, boost::asio::use_future);
  kill(worker, SIGKILL);
  CHECK(answer.get().has_value());
  CHECK(session.stages().front().restarts == 1);
  CHECK(parent_of(session.stages().front().pid) == parent_of(next.stages().front().pid));
}

TEST_CASE("a hundred workers leave neither descriptors nor zombies, and each says how it ended") {
  amp4ec::detail::ForkServer server(amp4ec::detail::find_worker({}).value(), 1);
  CHECK(server.pid() == -1);
  REQUIRE(amp4ec::detail::WorkerProcess::start(server, nullptr).has_value());
  while (entries_of(server.pid(), "fd") > 5) usleep(1000);  // Standard streams, channel, signals.
  const std::size_t own = entries_of(getpid(), "fd");
  for (int round = 0; round < 100; ++round) {
    auto worker = amp4ec::detail::WorkerProcess::start(server, nullptr).value();
    kill(worker.pid(), round % 2 == 0 ? SIGKILL : SIGTERM);
    const std::string end = worker.describe_end(std::chrono::seconds(60));
    CHECK(end.find(round % 2 == 0 ? "signal 9" : "signal 15") != std::string::npos);
    // Reaped, or its number is another's by now.
    CHECK(parent_of(worker.pid()) != server.pid());
  }
  CHECK(entries_of(getpid(), "fd") == own);
  while (entries_of(server.pid(), "fd") > 5) usleep(1000);  // It closes a worker's pipe once we have read it.
  const std::string task = "task/" + std::to_string(server.pid()) + "/children";
  CHECK(text_of(server.pid(), task).empty());
}

TEST_CASE("a worker that cannot be placed ends") {
  amp4ec::detail::ForkServer server(amp4ec::detail::find_worker({}).value(), 1);
  pid_t worker = -1;
  const auto started = amp4ec::detail::WorkerProcess::start(server, [&](pid_t pid) -> Result<void> {
    worker = pid;
    CHECK(text_of(pid, "comm").size() > 1);
    return Error{Errc::CgroupFailed, "no"};
  });
  REQUIRE(started.has_error());
  CHECK(started.error().code == Errc::CgroupFailed);
  CHECK(parent_of(worker) != server.pid());
  CHECK(amp4ec::detail::WorkerProcess::start(server, nullptr).has_value());
}

TEST_CASE("replicas and sessions share the memory of a segment, which goes with the last of them") {
  const Model model = Model::from_module(module_from(R"(
    def forward(self, x):
        w = torch.arange(65536).reshape([256, 256]).float() * 0.00001
        return torch.relu(torch.mm(x, w)) + 1.0
  )"))
                          .value();
  const auto segments_of = [](pid_t process) {
    std::set<std::string> inodes;
    std::istringstream maps(text_of(process, "maps"));
    for (std::string line; std::getline(maps, line);) {  // "ADDRESSES RIGHTS OFFSET DEVICE INODE NAME"
      std::istringstream fields(line);
      std::string skipped;
      std::string inode;
      std::string name;
      fields >> skipped >> skipped >> skipped >> skipped >> inode >> name;
      if (name.starts_with("/memfd:amp4ec-segment")) inodes.insert(inode);
    }
    return inodes;
  };
  const auto held = [] {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      if (fs::read_symlink(entry.path(), gone).string().starts_with("/memfd:amp4ec-segment")) ++count;
    }
    return count;
  };
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 0.5_cpu, 1_GiB}}).value();
  const auto input = random_inputs({2, 256}, 1).front();
  SessionOptions options;
  options.form = Form::Plain;
  std::optional<Session> first;
  const std::size_t last = model.layer_count() - 1;
  const Plan plan = plan_of({pipeline({{"a", 0, last}}), pipeline({{"b", 0, last}})});
  first.emplace(runtime.open(model, plan, input, options).value());
  Session second = runtime.open(model, plan, input, options).value();
  const auto inodes = segments_of(first->stages().front().pid);
  CHECK(inodes.size() == 1);
  for (const Session* session : {&*first, &second}) {
    for (const StageReport& stage : session->stages()) CHECK(segments_of(stage.pid) == inodes);
  }
  CHECK(held() == 1);
  first.reset();
  CHECK(held() == 1);
  CHECK(compare(second.infer(input).value(), whole_answer(model, input)).relative_error <= 1e-6);
  second.close();
  CHECK(held() == 0);
}

TEST_CASE("what one worker has found out about a segment is known to those after it") {
  namespace rt = amp4ec::detail;
  const Model model = small_model();
  const Segment whole = model.segment(0, model.layer_count() - 1).value();
  const auto runtime = rt::RuntimeState::create({{"a", 1.0_cpu, 1_GiB}}, {}).value();
  const auto inputs = rt::share_values(random_inputs({3, 4}, 1).front()).value();
  const auto start = [&] {
    auto worker = rt::StageWorker::start(*runtime, runtime->find_node("a"), 0).value();
    REQUIRE(worker->begin_load(whole, Form::Optimized).has_value());
    REQUIRE(worker->finish_load(std::chrono::seconds(60)).has_value());
    REQUIRE(worker->begin_measure(inputs, {1, 1, 0}).has_value());
    REQUIRE(worker->finish_measure(std::chrono::seconds(60)).has_value());
    return worker;
  };
  const auto first = start();
  CHECK(runtime->segments().form_of(whole, 1).empty());
  REQUIRE(first->learn_form().has_value());
  const std::string form = runtime->segments().form_of(whole, 1);
  CHECK_FALSE(form.empty());
  CHECK(runtime->segments().form_of(whole, 2).empty());
  // One that was told has not searched, and has nothing to add.
  const auto second = start();
  CHECK(second->worker().call({{"op", "chosen"}}, {}, std::chrono::seconds(60)).value().at("chosen") == "");
  REQUIRE(second->learn_form().has_value());
  CHECK(runtime->segments().form_of(whole, 1) == form);
}
