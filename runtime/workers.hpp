// The two threads beside the loop. One waits for disks, so that the loop does not have to; one works out what
// is due later (the index of records).
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "board/result.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

/// Runs tasks in order.
class WorkerThread {
public:
    WorkerThread();
    /// Finishes the tasks it has, then ends.
    ~WorkerThread();
    WorkerThread(const WorkerThread&) = delete;
    WorkerThread& operator=(const WorkerThread&) = delete;

    /// Any thread.
    void run(std::function<void()> task);

private:
    void work();

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> tasks_;
    bool closing_ = false;
    std::thread thread_;
};

class Workers {
public:
    explicit Workers(boost::asio::io_context& loop) : loop_(loop) {}

    /// Loop thread. `job` runs on the thread that waits for disks, `done` on the loop's.
    void wait_for_disk(std::function<Status()> job, std::function<void(Status)> done);
    /// Loop thread. On the other one, which no disk holds up.
    void work_out(std::function<void()> task) { calculating_.run(std::move(task)); }

private:
    boost::asio::io_context& loop_;
    WorkerThread calculating_;
    WorkerThread waiting_;
};

}  // namespace stele
