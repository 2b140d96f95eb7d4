#pragma once

#include <p2pdvm/host/impl/delayed_network.ipp>
