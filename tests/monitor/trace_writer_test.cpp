// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/trace_writer.hpp>
#include <amp4ec/plan/json_text.hpp>

#include "cgroup/support/built_tree.hpp"
#include "cgroup/support/child.hpp"
#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace std::chrono_literals;
using cgroup::test::TempFolder;
using Time = std::chrono::steady_clock::time_point;

namespace {
std::vector<boost::json::object> events_of(const std::string& text) {
  const auto parsed = parse_json(text);
  REQUIRE(parsed);
  std::vector<boost::json::object> events;
  for (const auto& event : parsed->as_array()) events.push_back(event.as_object());
  return events;
}

std::string text(const boost::json::object& event, std::string_view key) {
  return std::string(event.at(key).as_string());
}

double number(const boost::json::object& event, std::string_view key) {
  return event.at(key).to_number<double>();
}

std::vector<boost::json::object> of_phase(const std::vector<boost::json::object>& events, std::string_view phase) {
  std::vector<boost::json::object> found;
  for (const auto& event : events) {
    if (text(event, "ph") == phase) found.push_back(event);
  }
  return found;
}

/// The name that metadata gives to a process ("process_name") or a thread.
std::string name_of(const std::vector<boost::json::object>& events, std::string_view kind,
                    const boost::json::object& like) {
  for (const auto& event : of_phase(events, "M")) {
    const bool same =
        event.at("pid") == like.at("pid") && (kind == "process_name" || event.at("tid") == like.at("tid"));
    if (same && text(event, "name") == kind) return text(event.at("args").as_object(), "name");
  }
  return "?";
}
}  // namespace

TEST_CASE("a trace without events is valid") {
  const TempFolder folder;
  {
    const auto trace = TraceWriter::create(folder.path() + "/trace.json");
    REQUIRE(trace);
  }
  const auto events = events_of(folder.get("trace.json"));
  CHECK(of_phase(events, "M").size() == events.size());
}

TEST_CASE("a request can be followed through its stages") {
  const TempFolder folder;
  auto trace = TraceWriter::create(folder.path() + "/trace.json");
  REQUIRE(trace);
  for (std::uint64_t request = 1; request <= 2; ++request) {
    const Time start{1s + std::chrono::nanoseconds(request)};
    REQUIRE(trace->add(TraceStage{"high", "worker-0", "layers 0-4", request, 0, 3, start, start + 1500us}));
    REQUIRE(trace->add(TraceStage{"low", "worker-1", "layers 5-6", request, 1, 3, start + 2ms, start + 3ms}));
    REQUIRE(trace->add(TraceStage{"high", "worker-2", "layers 7-9", request, 2, 3, start + 4ms, start + 5ms}));
    REQUIRE(trace->add(TraceRequest{request, start, start + 6ms, request == 2 ? "too \"late\"" : ""}));
  }
  REQUIRE(trace->close());
  CHECK(trace->dropped() == 0);
  const auto events = events_of(folder.get("trace.json"));

  const auto slices = of_phase(events, "X");
  REQUIRE(slices.size() == 6);
  CHECK(slices[0].at("ts").to_number<double>() == 1'000'000.001);  // nanoseconds are kept
  CHECK(number(slices[0], "dur") == 1500);
  CHECK(text(slices[0], "name") == "layers 0-4");
  CHECK(name_of(events, "process_name", slices[0]) == "high");
  CHECK(name_of(events, "thread_name", slices[0]) == "worker-0");
  CHECK(name_of(events, "process_name", slices[1]) == "low");
  CHECK(name_of(events, "process_name", slices[2]) == "high");
  CHECK(name_of(events, "thread_name", slices[2]) == "worker-2");
  CHECK(slices[0].at("pid") == slices[2].at("pid"));
  CHECK(slices[0].at("tid") != slices[2].at("tid"));
  CHECK(slices[0].at("tid") == slices[3].at("tid"));  // the second request, same worker
  CHECK(of_phase(events, "M").size() == 3 + 3);       // each name once: requests, high, low; three workers

  // Every arrow has one start, one middle and one end, each inside a slice of its request.
  std::map<double, std::string> arrows;
  for (const auto& event : events) {
    if (text(event, "ph").find_first_of("stf") == std::string::npos) continue;
    arrows[number(event, "id")] += text(event, "ph");
    const auto encloses = [&](const boost::json::object& slice) {
      return slice.at("pid") == event.at("pid") && slice.at("tid") == event.at("tid") &&
             slice.at("args").at("request") == event.at("id") && number(slice, "ts") <= number(event, "ts") &&
             number(event, "ts") <= number(slice, "ts") + number(slice, "dur");
    };
    CHECK(std::count_if(slices.begin(), slices.end(), encloses) == 1);
  }
  CHECK(arrows == std::map<double, std::string>{{1, "stf"}, {2, "stf"}});

  const auto begins = of_phase(events, "b");
  const auto ends = of_phase(events, "e");
  REQUIRE(begins.size() == 2);
  REQUIRE(ends.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    for (const auto* key : {"id", "cat", "name", "pid"}) CHECK(begins[i].at(key) == ends[i].at(key));
    CHECK(number(ends[i], "ts") - number(begins[i], "ts") == Approx(6000));
    CHECK(name_of(events, "process_name", begins[i]) == "requests");
  }
  CHECK(ends[1].at("args").at("error").as_string() == "too \"late\"");
}

TEST_CASE("a stage alone has no arrow; times of a liar do no harm") {
  const TempFolder folder;
  auto trace = TraceWriter::create(folder.path() + "/trace.json");
  REQUIRE(trace);
  REQUIRE(trace->add(TraceStage{"high", "worker", "all", 1, 0, 1, Time{5s}, Time{3s}}));
  REQUIRE(trace->add(TraceStage{"high", "worker", "all", 2, 0, 1, Time{-5s}, Time{3s}}));
  REQUIRE(trace->add(TraceRequest{1, Time{5s}, Time{3s}, ""}));
  REQUIRE(trace->close());
  const auto events = events_of(folder.get("trace.json"));
  for (const auto& event : events) {
    CHECK(text(event, "ph").find_first_of("stf") == std::string::npos);
    if (event.contains("dur")) CHECK(number(event, "dur") >= 0);
    if (event.contains("ts")) CHECK(number(event, "ts") >= 0);
  }
  CHECK(of_phase(events, "X").size() == 2);
}

TEST_CASE("samples are counters of their node") {
  const TempFolder folder;
  auto trace = TraceWriter::create(folder.path() + "/trace.json");
  REQUIRE(trace);
  Sample sample;
  sample.node = "high";
  sample.time = Time{2s};
  sample.resources_known = sample.cpu_known = sample.memory_known = true;
  sample.cpu_used = 0.25_cpu;
  sample.memory = 64_MiB;
  sample.queue_depth = 7;
  REQUIRE(trace->add(sample));
  sample.resources_known = sample.cpu_known = sample.memory_known = false;
  REQUIRE(trace->add(sample));
  REQUIRE(trace->close());
  const auto events = events_of(folder.get("trace.json"));
  std::multiset<std::string> counters;
  for (const auto& event : of_phase(events, "C")) {
    CHECK(name_of(events, "process_name", event) == "high");
    CHECK(number(event, "ts") == 2e6);
    counters.insert(boost::json::serialize(event.at("args")));
  }
  CHECK(counters == std::multiset<std::string>{"{\"used\":2.5E-1}", "{\"share\":0}", "{\"used\":67108864}",
                                               "{\"waiting\":7}", "{\"waiting\":7}"});
}

TEST_CASE("hostile names do not break the trace") {
  const TempFolder folder;
  auto trace = TraceWriter::create(folder.path() + "/trace.json");
  REQUIRE(trace);
  const std::string node = "\"},\n{\\\x01";
  REQUIRE(trace->add(TraceStage{node, "\xFF\xC3\xA4", "\xED\xA0\x80{}", 1, 0, 1, Time{1s}, Time{2s}}));
  REQUIRE(trace->close());
  const auto events = events_of(folder.get("trace.json"));
  const auto slices = of_phase(events, "X");
  REQUIRE(slices.size() == 1);
  CHECK(name_of(events, "process_name", slices[0]) == node);
  CHECK(name_of(events, "thread_name", slices[0]) == "\xEF\xBF\xBD\xC3\xA4");
}

TEST_CASE("many threads may add; the file opens while it grows, whole events only") {
  const TempFolder folder;
  const std::string path = folder.path() + "/trace.json";
  auto trace = TraceWriter::create(path);
  REQUIRE(trace);
  std::vector<std::thread> threads;
  for (std::uint64_t id = 0; id < 4; ++id) {
    threads.emplace_back([&trace, id] {
      for (std::uint64_t i = 0; i < 2000; ++i) {
        (void)trace->add(TraceRequest{id * 10'000 + i, Time{1s}, Time{2s}, ""});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  // As if the process died here: what is on disk lacks only its end.
  const std::string unfinished = folder.get("trace.json");
  REQUIRE(unfinished.size() > 100'000);
  const auto so_far = events_of(unfinished + "]");
  CHECK(so_far.size() > 1000);
  REQUIRE(trace->close());
  const auto events = events_of(folder.get("trace.json"));
  std::set<double> ids;
  for (const auto& event : of_phase(events, "e")) ids.insert(number(event, "id"));
  CHECK(ids.size() == 8000);
  CHECK(of_phase(events, "b").size() == 8000);

  REQUIRE(trace->close());
  REQUIRE(trace->add(TraceRequest{}));
  CHECK(events_of(folder.get("trace.json")).size() == events.size());
}

TEST_CASE("a file that may not grow: one error, no signal, and what is there stays valid") {
  const TempFolder folder;
  // In a process of its own: SIGXFSZ would end it, and the limit holds for all that it writes.
  cgroup::test::Child child([&] {
    auto trace = TraceWriter::create(folder.path() + "/trace.json");
    rlimit limit{};
    if (!trace || ::getrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    limit.rlim_cur = 200'000;
    if (::signal(SIGXFSZ, SIG_DFL) == SIG_ERR || ::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    std::vector<Error> errors;
    for (std::uint64_t i = 0; i < 5000; ++i) {
      if (const auto added = trace->add(TraceRequest{i, Time{1s}, Time{2s}, ""}); !added)
        errors.push_back(added.error());
    }
    if (errors.size() != 1 || errors[0].code != Errc::SystemCall) return 3;
    if (errors[0].message.find("trace.json") == std::string::npos || !trace->close()) return 4;
    folder.put("dropped", std::to_string(trace->dropped()));
    sigset_t signals;
    if (::sigpending(&signals) != 0 || ::sigismember(&signals, SIGXFSZ) != 0) return 5;
    if (::pthread_sigmask(SIG_BLOCK, nullptr, &signals) != 0 || ::sigismember(&signals, SIGXFSZ) != 0) return 6;
    return 0;
  });
  child.go();
  CHECK(child.wait() == 0);  // neither a signal nor another exit status
  const auto ends = of_phase(events_of(folder.get("trace.json")), "e");
  CHECK(ends.size() > 500);
  CHECK(ends.size() + std::stoull(folder.get("dropped")) == 5000);
}

TEST_CASE("a full device is told once, at the latest by close") {
  if (!std::filesystem::exists("/dev/full")) return;
  auto trace = TraceWriter::create("/dev/full");
  REQUIRE(trace);
  REQUIRE(trace->add(TraceRequest{}));
  CHECK(trace->close().error().code == Errc::SystemCall);
  CHECK(trace->close());
}

TEST_CASE("a trace needs a file that can be made") {
  const TempFolder folder;
  CHECK(TraceWriter::create(folder.path() + "/no/trace.json").error().code == Errc::SystemCall);
  CHECK(TraceWriter::create(folder.path()).error().code == Errc::SystemCall);
  const std::string pipe = folder.path() + "/pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_FALSE(TraceWriter::create(pipe));
}
