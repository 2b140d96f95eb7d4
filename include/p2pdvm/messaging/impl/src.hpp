#pragma once

#include <p2pdvm/messaging/impl/endpoint.ipp>
