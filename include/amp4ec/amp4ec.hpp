// SPDX-License-Identifier: Apache-2.0
#pragma once

// The three APIs together: Partitioner, Scheduler (behind Session), Monitor, and what they work on. Programs that plan
// without LibTorch include <amp4ec/plan/partitioner.hpp> alone.
#include <amp4ec/model/model.hpp>
#include <amp4ec/model/operator_library.hpp>
#include <amp4ec/monitor/monitor.hpp>
#include <amp4ec/plan/partitioner.hpp>
#include <amp4ec/plan/plan_json.hpp>
#include <amp4ec/plan/profile_json.hpp>
#include <amp4ec/runtime/probe.hpp>
#include <amp4ec/runtime/runtime.hpp>
#include <amp4ec/runtime/session.hpp>
