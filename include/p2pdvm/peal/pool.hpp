/// Bags of tasks for ranks: submitted alike by all, computed by whoever has time, collected by all.
#pragma once

#include <p2pdvm/peal/pool/bag.hpp>
