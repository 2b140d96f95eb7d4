#pragma once

#include <p2pdvm/messaging/impl/endpoint.ipp>
#include <p2pdvm/messaging/impl/address_book.ipp>
#include <p2pdvm/messaging/impl/circuits.ipp>
#include <p2pdvm/messaging/impl/exchange.ipp>
#include <p2pdvm/messaging/impl/exchange_connections.ipp>
#include <p2pdvm/messaging/impl/session.ipp>
