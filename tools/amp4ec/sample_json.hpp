// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/sample.hpp>

#include <boost/json/object.hpp>

namespace amp4ec::cli {

/// The fields of a sample, without its name and time: null for what it does not know, and for limits that are none.
boost::json::object sample_json(const Sample& sample);

}  // namespace amp4ec::cli
