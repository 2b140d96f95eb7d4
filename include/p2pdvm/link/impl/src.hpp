#pragma once

#include <p2pdvm/link/impl/connection.ipp>
#include <p2pdvm/link/impl/datagram.ipp>
#include <p2pdvm/link/impl/handshake.ipp>
#include <p2pdvm/link/impl/noise.ipp>
#include <p2pdvm/link/impl/record.ipp>
