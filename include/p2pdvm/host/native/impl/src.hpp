#pragma once

#include <p2pdvm/host/native/impl/clock.ipp>
#include <p2pdvm/host/native/impl/disk.ipp>
#include <p2pdvm/host/native/impl/folder_lock.ipp>
#include <p2pdvm/host/native/impl/lane.ipp>
#include <p2pdvm/host/native/impl/machine.ipp>
#include <p2pdvm/host/native/impl/network.ipp>
#include <p2pdvm/host/native/impl/workers.ipp>
#include <p2pdvm/host/native/impl/stream.ipp>
