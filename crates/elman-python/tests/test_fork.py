"""Objects with threads in the child processes of fork, spawn and forkserver: the same results, and no waiting for ever."""

import multiprocessing
import os
import subprocess
import sys
import textwrap

import pytest

METHODS = multiprocessing.get_all_start_methods()

# A program of its own, that may hang: it is ended from outside.
PROGRAM = textwrap.dedent(
    """
    import multiprocessing, sys, threading
    import numpy, elman

    SHAPE = dict(vocab=40, embed=20, window=5, hidden=64, classes=6)
    BATCH = [(list(range(12)), [t % 6 for t in range(12)])] * 8
    generator = numpy.random.default_rng(1)
    ARRAYS = [generator.normal(size=size).astype("float32") for size in [(64, 8), (8, 16), (16, 16), 16, 16]]
    SENTENCES = [[f"w{i % 39}" for i in range(length)] for length in range(1, 60)]

    def objects(threads):
        params = elman.init(**SHAPE)
        words = ["<UNK>", *(f"w{i}" for i in range(39))]
        tagger = elman.Tagger(params, words, list("abcdef"), threads=threads)
        learner = elman.Learner(params, threads=threads)
        network = elman.Network(params, threads=threads)
        trace = elman.vjp(*ARRAYS, [16] * 4, threads=threads)
        return tagger, learner, network, trace

    def used(tagger, learner, network, trace):
        \"\"\"What comes of a use of all that has threads.\"\"\"
        found = [tagger.label(SENTENCES), [learner.step(BATCH, 0.1) for _ in range(3)], network.gradient(BATCH)[0]]
        found += [[array.tolist() for array in trace.backward(trace.h)] if trace else None]
        return found + [elman.recurrence(*ARRAYS, [16] * 4, threads=2).tolist()]

    def child(queue, inherited):
        again = used(*(inherited or PARENTS))
        queue.put((again, used(*objects(2))))

    def main(method):
        global PARENTS
        PARENTS = objects(2)
        context = multiprocessing.get_context(method)
        first = used(*PARENTS)
        # The parents' learner has made steps; the child goes on from there.
        alone = objects(1)
        used(*alone)
        expected = used(*alone)
        # A Trace cannot be pickled.
        inherited = None if method == "fork" else (*PARENTS[:3], None)
        if inherited:
            expected[3] = None
        stop = threading.Event()
        busy = []
        def work():
            while not stop.is_set():
                # Another thread holds a lock of the tagger, or of the library, at most times.
                PARENTS[0].label(SENTENCES * 20)
        if method == "fork":
            busy = [threading.Thread(target=work) for _ in range(2)]
            [thread.start() for thread in busy]
        for _ in range(6 if method == "fork" else 1):
            queue = context.Queue()
            process = context.Process(target=child, args=(queue, inherited))
            process.start()
            again, anew = queue.get(timeout=60)
            process.join(60)
            assert process.exitcode == 0, process.exitcode
            assert again == expected, "inherited"
            assert anew == first, "made anew"
        stop.set()
        [thread.join() for thread in busy]
        # The parent's own threads are still there.
        assert used(*PARENTS)[1] == expected[1]

    if __name__ == "__main__":
        main(sys.argv[1])
        print("done")
    """
)


@pytest.mark.parametrize("method", METHODS)
def test_child_processes_have_threads_of_their_own(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(program), method]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_learner_in_the_middle_of_a_step_is_refused_in_the_child(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import os, threading, time
            import elman

            params = elman.init(vocab=10, embed=100, window=9, hidden=1000, classes=10)
            learner = elman.Learner(params)
            words = [1, 2, 3, 4] * 1000
            thread = threading.Thread(target=lambda: learner.step([(words, [0] * 4000)], 0.1))
            thread.start()
            time.sleep(0.1)
            assert thread.is_alive(), "the step should take longer"
            pid = os.fork()
            if pid == 0:
                try:
                    learner.step([([1], [0])], 0.1)
                except RuntimeError as error:
                    os._exit(7 if "while this process was forked" in str(error) else 1)
                os._exit(0)
            thread.join()
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            learner.step([([1], [0])], 0.1)
            """
        )
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(program)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (run.returncode, run.stdout) == (0, "7\n"), run.stderr
