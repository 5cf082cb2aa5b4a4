// SPDX-License-Identifier: Apache-2.0
// Boost.JSON compiled here, once, so that no Boost.JSON library has to be linked.
#include <boost/json/src.hpp>
