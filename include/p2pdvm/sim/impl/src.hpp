#pragma once

#include <p2pdvm/sim/impl/datagrams.ipp>
#include <p2pdvm/sim/impl/disk.ipp>
#include <p2pdvm/sim/impl/fabric.ipp>
#include <p2pdvm/sim/impl/file_image.ipp>
#include <p2pdvm/sim/impl/large_pages.ipp>
#include <p2pdvm/sim/impl/latency.ipp>
#include <p2pdvm/sim/impl/links.ipp>
#include <p2pdvm/sim/impl/machine.ipp>
#include <p2pdvm/sim/impl/nat.ipp>
#include <p2pdvm/sim/impl/sessions.ipp>
#include <p2pdvm/sim/impl/simulation.ipp>
#include <p2pdvm/sim/impl/stream_events.ipp>
#include <p2pdvm/sim/impl/streams.ipp>
