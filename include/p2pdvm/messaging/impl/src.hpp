#pragma once

#include <p2pdvm/messaging/impl/session.ipp>
