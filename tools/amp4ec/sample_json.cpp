// SPDX-License-Identifier: Apache-2.0
#include "sample_json.hpp"

#include <boost/json/value.hpp>

#include <string_view>

namespace amp4ec::cli {

namespace json = boost::json;

boost::json::object sample_json(const Sample& sample) {
  json::object object;
  const auto add = [&](std::string_view name, bool is_known, json::value value) {
    object[name] = is_known ? std::move(value) : json::value(nullptr);
  };
  const bool known = sample.resources_known;
  add("cpu_used", known, sample.cpu_used.count);
  add("cpu_quota", sample.cpu_quota.count > 0, sample.cpu_quota.count);
  add("throttled", known, sample.throttled);
  add("memory_bytes", known, sample.memory.count);
  add("memory_peak_bytes", known, sample.memory_peak.count);
  add("memory_limit_bytes", sample.memory_limit.count > 0, sample.memory_limit.count);
  add("oom_kills", known, sample.oom_kills);
  add("alive", true, sample.alive);
  add("queue_depth", true, sample.queue_depth);
  add("requests_done", true, sample.requests_done);
  add("mean_service_us", sample.mean_service_us > 0, sample.mean_service_us);
  return object;
}

}  // namespace amp4ec::cli
