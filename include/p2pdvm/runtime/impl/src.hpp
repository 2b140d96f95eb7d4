#pragma once

#include <p2pdvm/runtime/impl/early_messages.ipp>
#include <p2pdvm/runtime/impl/job.ipp>
#include <p2pdvm/runtime/impl/job_checkpoint.ipp>
#include <p2pdvm/runtime/impl/job_folder.ipp>
#include <p2pdvm/runtime/impl/job_spec.ipp>
#include <p2pdvm/runtime/impl/joiner.ipp>
#include <p2pdvm/runtime/impl/peer.ipp>
#include <p2pdvm/runtime/impl/rank_runner.ipp>
#include <p2pdvm/runtime/impl/rank_traffic.ipp>
#include <p2pdvm/runtime/impl/record_keeper.ipp>
#include <p2pdvm/runtime/impl/restorer.ipp>
#include <p2pdvm/runtime/impl/simulated_cluster.ipp>
#include <p2pdvm/runtime/impl/simulated_swarm.ipp>
#include <p2pdvm/runtime/impl/snapshot_store.ipp>
#include <p2pdvm/runtime/impl/swarm_experiment.ipp>
#include <p2pdvm/runtime/impl/ticket.ipp>
