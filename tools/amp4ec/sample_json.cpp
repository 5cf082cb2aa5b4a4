// SPDX-License-Identifier: Apache-2.0
#include "sample_json.hpp"

#include <boost/json/value.hpp>

#include <string_view>

namespace amp4ec::cli {

namespace json = boost::json;

namespace {

json::object share_json(const PressureShare& share) {
  return {{"some", share.some}, {"full", share.full}};
}

}  // namespace

boost::json::object sample_json(const Sample& sample) {
  json::object object;
  const auto add = [&](std::string_view name, bool is_known, json::value value) {
    object[name] = is_known ? std::move(value) : json::value(nullptr);
  };
  add("cpu_used", sample.cpu_known, sample.cpu_used.count);
  add("cpu_quota", sample.cpu_quota.count > 0, sample.cpu_quota.count);
  add("cpu_share", sample.cpu_known && sample.cpu_quota.count > 0, sample.cpu_share);
  add("throttled", sample.resources_known, sample.throttled);
  add("memory_bytes", sample.memory_known, sample.memory.count);
  add("memory_current_bytes", sample.memory_known, sample.memory_current.count);
  add("memory_peak_bytes", sample.memory_peak_known, sample.memory_peak.count);
  add("memory_limit_bytes", sample.memory_limit.count > 0, sample.memory_limit.count);
  add("oom_kills", sample.oom_kills_known, sample.oom_kills);
  add("pressure", sample.pressure_known,
      {{"cpu", share_json(sample.cpu_pressure)},
       {"memory", share_json(sample.memory_pressure)},
       {"io", share_json(sample.io_pressure)}});
  add("page_faults", sample.page_faults_known, sample.page_faults);
  add("major_page_faults", sample.page_faults_known, sample.major_page_faults);
  add("network", sample.network_known,
      {{"received_bytes", sample.network.received.count},
       {"sent_bytes", sample.network.sent.count},
       {"packets_received", sample.network.packets_received},
       {"packets_sent", sample.network.packets_sent}});
  add("node_state", true, json::string(to_string(sample.state)));
  add("alive", true, sample.alive);
  add("queue_depth", true, sample.queue_depth);
  add("requests_done", true, sample.requests_done);
  add("mean_service_us", sample.mean_service_us > 0, sample.mean_service_us);
  add("service_us", sample.p50_service_us > 0,
      {{"p50", sample.p50_service_us}, {"p90", sample.p90_service_us}, {"p99", sample.p99_service_us}});
  add("ring_received_bytes", true, sample.ring_received.count);
  add("ring_sent_bytes", true, sample.ring_sent.count);
  return object;
}

}  // namespace amp4ec::cli
