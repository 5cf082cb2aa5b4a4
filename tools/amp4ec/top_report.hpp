// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/machine_watch.hpp>

#include <boost/json/object.hpp>

#include <string>
#include <vector>

namespace amp4ec::cli {

/// What `top` shows of the nodes: a table, or a sentence where there are none.
std::string top_text(const std::vector<WatchedNode>& nodes);

/// One object an interval: {time, nodes[] {host, node, the fields of a sample, workers[]}}.
boost::json::object top_json(const std::vector<WatchedNode>& nodes);

/// "####......" for 0.4: a share of 0 to 1 in ten places.
std::string bar(double share);

}  // namespace amp4ec::cli
