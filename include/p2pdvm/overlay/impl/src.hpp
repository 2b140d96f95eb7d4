#pragma once

#include <p2pdvm/overlay/impl/address_proof.ipp>
#include <p2pdvm/overlay/impl/contact.ipp>
#include <p2pdvm/overlay/impl/coordinates.ipp>
#include <p2pdvm/overlay/impl/failure_detector.ipp>
#include <p2pdvm/overlay/impl/failure_detector_claims.ipp>
#include <p2pdvm/overlay/impl/lookup.ipp>
#include <p2pdvm/overlay/impl/nearest.ipp>
#include <p2pdvm/overlay/impl/node.ipp>
#include <p2pdvm/overlay/impl/node_rpc.ipp>
#include <p2pdvm/overlay/impl/node_upkeep.ipp>
#include <p2pdvm/overlay/impl/placement.ipp>
#include <p2pdvm/overlay/impl/record.ipp>
#include <p2pdvm/overlay/impl/relay_choice.ipp>
#include <p2pdvm/overlay/impl/request_budget.ipp>
#include <p2pdvm/overlay/impl/routing_table.ipp>
