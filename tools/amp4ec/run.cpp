// SPDX-License-Identifier: Apache-2.0
#include "bare_replicas.hpp"
#include "interrupt.hpp"
#include "output.hpp"
#include "planning.hpp"
#include "profiling.hpp"
#include "references.hpp"
#include "rounds.hpp"
#include "run_report.hpp"
#include "subject.hpp"
#include "verb.hpp"

#include <amp4ec/monitor/monitor.hpp>
#include <amp4ec/monitor/prometheus_exporter.hpp>
#include <amp4ec/monitor/trace_writer.hpp>
#include <amp4ec/runtime/runtime.hpp>
#include <amp4ec/schedule/make_policy.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace amp4ec::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  PlanningOptions planning;
  std::string plan;
  std::string workers = "process";
  std::string policy = SessionOptions{}.policy;
  std::string mode = "optimized";
  double seconds = 10;
  std::size_t requests = 0;
  std::size_t in_flight = 0;
  bool baseline = false;
  bool standby = false;
  std::string trace;
  int metrics = -1;
  double stall_timeout = std::chrono::duration<double>(SessionOptions{}.stall_timeout).count();
  // Refused until they come:
  std::string rate;
  std::string arrivals;
  std::string cache;
};

/// How many different inputs the load goes through.
constexpr std::size_t different_inputs = 8;

/// What this version cannot do is refused, never ignored.
Result<void> refuse_what_is_still_to_come(const RunOptions& options) {
  const auto refuse = [](std::string_view what) {
    return Error{Errc::NotSupported, fmt::format("{} comes in a later version; leave it out", what)};
  };
  if (!options.rate.empty()) return refuse("--rate (open loop)");
  if (!options.arrivals.empty()) return refuse("--arrivals (open loop)");
  if (!options.cache.empty()) return refuse("--cache");
  if (!options.planning.links.empty()) return refuse("--link in 'run' (limits between nodes)");
  return {};
}

/// A plan that was given, predicted anew where there is a profile; otherwise a new one.
Result<Plan> find_plan(const RunOptions& options, const Subject& subject, const std::vector<NodeSpec>& nodes,
                       const Partitioner& partitioner, Form form) {
  const auto from_profile = [&](const PlanMaker& make) -> Result<Plan> {
    auto planned = plan_from_profile(subject, form, options.planning, make);
    if (!planned) return planned.error();
    return std::move(planned->plan);
  };
  if (options.plan.empty())
    return from_profile([&](const Profile& profile) { return partitioner.plan(profile, nodes); });
  auto plan = load_plan(options.plan, subject.model);
  if (!plan) return plan;
  if (const auto valid = validate_plan(*plan, subject.graph, nodes); !valid) return valid.error();
  if (!options.planning.profile.empty() || options.planning.no_profile) {
    plan = from_profile([&](const Profile& profile) { return evaluate(*plan, profile, nodes); });
    if (!plan) return plan;
  }
  if (const auto fit = check_memory(*plan, nodes); !fit) return fit.error();
  return plan;
}

/// What the kernel does not let us hold: told now, and kept for the report.
std::vector<Event> note_missing_limits(const Capabilities& capabilities) {
  std::vector<Event> events;
  for (const std::string& missing : capabilities.missing) {
    print_note(missing);
    events.push_back({0, missing});
  }
  return events;
}

Error interrupted() {
  return Error{Errc::SessionClosed, "interrupted"};
}

/// Metrics for Prometheus while the session runs, where they are asked for.
Result<std::optional<PrometheusEndpoint>> serve_metrics(const RunOptions& options, Runtime& runtime) {
  if (options.metrics < 0) return std::optional<PrometheusEndpoint>();
  auto endpoint = PrometheusExporter(runtime.monitor()).listen(static_cast<std::uint16_t>(options.metrics));
  if (!endpoint) return endpoint.error();
  print_note(fmt::format("metrics: http://127.0.0.1:{}/metrics", endpoint->port()));
  return std::optional(std::move(*endpoint));
}

/// When this returns, workers and groups are gone: printing may fail, or end the process when nobody reads.
Result<Measurement> measure(const RunOptions& options, const Subject& subject, const References& references,
                            const Interrupt& interrupt, RunReport& report) {
  auto runtime = Runtime::create(report.nodes);
  if (!runtime) return runtime.error();
  report.capabilities = runtime->capabilities();
  const auto missing = note_missing_limits(report.capabilities);
  const auto endpoint = serve_metrics(options, *runtime);
  if (!endpoint) return endpoint.error();
  SessionOptions session_options;
  Subscription samples;
  if (!options.trace.empty()) {
    auto trace = TraceWriter::create(options.trace);
    if (!trace) return trace.error();
    session_options.trace = std::make_shared<TraceWriter>(std::move(*trace));
    samples = runtime->monitor().subscribe(
        [writer = session_options.trace](const Sample& sample) { (void)writer->add(sample); });
  }
  session_options.policy = options.policy;
  session_options.max_in_flight = options.in_flight;
  session_options.form = report.form;
  session_options.workers = report.workers;
  session_options.warm_standby = options.standby;
  session_options.stall_timeout =
      std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>(options.stall_timeout));
  auto events = std::make_shared<EventLog>();
  session_options.on_event = [events](const SessionEvent& event) { events->add(event); };
  if (interrupt) return interrupted();
  auto session = runtime->open(subject.model, report.plan, subject.inputs.example(), session_options);
  if (!session) return session.error();
  report.in_flight = session->max_in_flight();
  if (interrupt) return interrupted();
  auto replicas = BareReplicas::open(subject, report.nodes, runtime->capabilities().cpu_limits, options.baseline);
  if (!replicas) return replicas.error();
  report.replica_places = replicas->nodes();
  RoundOptions rounds;
  rounds.seconds = options.seconds;
  rounds.requests = options.requests;
  rounds.in_flight = report.in_flight;
  rounds.each_alone = options.baseline;
  auto measured = measure_rounds(*session, *replicas, references, rounds, *events, interrupt);
  if (measured) measured->events.insert(measured->events.begin(), missing.begin(), missing.end());
  if (session_options.trace) {
    samples.reset();
    session->close();
    if (const auto closed = session_options.trace->close(); !closed) return closed.error();
    if (const auto dropped = session_options.trace->dropped(); dropped > 0) {
      return Error{Errc::SystemCall,
                   fmt::format("{} events did not get into {}: is its disk full?", dropped, options.trace)};
    }
  }
  return measured;
}

/// Success, no, or the error that lost a request.
Result<Exit> judge(const RunReport& report) {
  const LoadResult& load = report.measured.load;
  if (load.lost > 0) {
    print_failure(fmt::format("{} of {} requests were lost: {}", load.lost, load.submitted,
                              load.first_error ? load.first_error->what() : "no answer came"));
    return Exit::no;
  }
  if (!report.equal() || load.duplicated > 0) {
    print_failure(
        fmt::format("{} answers differ from the unsplit model's, {} came twice", load.unequal, load.duplicated));
    return Exit::no;
  }
  return Exit::success;
}

Result<Exit> run_run(const RunOptions& options, const Interrupt& interrupt) {
  if (const auto possible = refuse_what_is_still_to_come(options); !possible) return possible.error();
  const auto form = parse_form(options.mode);
  if (!form) return form.error();
  if (const auto policy = make_policy(options.policy); !policy) return policy.error();
  const auto workers = parse_worker_kind(options.workers);
  if (!workers) return workers.error();
  const auto nodes = parse_nodes(options.planning);
  if (!nodes) return nodes.error();
  const auto partitioner = make_partitioner(options.planning);
  if (!partitioner) return partitioner.error();
  const auto subject = load_subject(options.model);
  if (!subject) return subject.error();
  auto plan = find_plan(options, *subject, *nodes, *partitioner, *form);
  if (!plan) return plan.error();
  auto references = make_references(*subject, different_inputs);
  if (!references) return references.error();
  // Requests are answered in the order in which they are sent, but the load generator repeats a few inputs.
  if (subject->model.has_state()) references->answers.clear();

  RunReport report;
  report.plan = std::move(*plan);
  report.nodes = *nodes;
  report.form = *form;
  report.policy = options.policy;
  report.workers = *workers;
  report.compared = !references->answers.empty();
  auto measured = measure(options, *subject, *references, interrupt, report);
  if (!measured) return measured.error();
  if (interrupt) return interrupted();
  report.measured = std::move(*measured);

  const auto printed = options.model.json ? print_json(report_json(report)) : print(report_text(report));
  if (!printed) return printed.error();
  return judge(report);
}

void add_run_options(CLI::App& verb, RunOptions& options) {
  verb.add_option("--plan", options.plan, "Run this plan on the nodes; without it, plan first");
  verb.add_option("--mode", options.mode, "How segments are executed: optimized or plain")->capture_default_str();
  verb.add_option("--policy", options.policy, fmt::format("How routes are picked: {}", fmt::join(policy_names, ", ")))
      ->capture_default_str();
  verb.add_option("--workers", options.workers, "Where stages execute: each in a process, or on a thread of this one")
      ->capture_default_str();
  auto* seconds = verb.add_option("--seconds", options.seconds, "Time for load and limit together")
                      ->check(CLI::Range(0.1, 86400.0))
                      ->capture_default_str();
  verb.add_option("--requests", options.requests, "So many requests instead")
      ->check(CLI::Range(1, 100'000'000))
      ->excludes(seconds);
  verb.add_option("--inflight", options.in_flight,
                  "Requests under way at once; without it, enough to keep the plan full")
      ->check(CLI::Range(1, 4096));
  verb.add_flag("--standby", options.standby, "Keep a loaded worker ready for each stage, should its own die");
  verb.add_flag("--baseline", options.baseline,
                "Measure each node's bare replica alone, and one with all CPUs, as well");
  verb.add_option("--trace", options.trace, "Write requests, stages and samples there, for ui.perfetto.dev");
  verb.add_option("--metrics", options.metrics, "Serve metrics for Prometheus at this port of 127.0.0.1; 0: any")
      ->check(CLI::Range(0, 65535));
  verb.add_option("--stall-timeout", options.stall_timeout,
                  "Seconds after which a worker that completes nothing is taken for stuck and replaced")
      ->check(CLI::Range(0.01, 86400.0))
      ->capture_default_str();
  for (auto [name, target] : {std::pair{"--rate", &options.rate}, std::pair{"--arrivals", &options.arrivals},
                              std::pair{"--cache", &options.cache}}) {
    verb.add_option(name, *target, "Comes in a later version");
  }
}

}  // namespace

void add_run(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* verb = app.add_subcommand("run", "Run the model on the nodes, under load, and compare with the limit");
  add_model_options(*verb, options->model);
  add_input_options(*verb, options->model);
  add_planning_options(*verb, options->planning);
  add_run_options(*verb, *options);
  verb->callback(
      [options, &chosen] { chosen = [options](const Interrupt& interrupt) { return run_run(*options, interrupt); }; });
}

}  // namespace amp4ec::cli
