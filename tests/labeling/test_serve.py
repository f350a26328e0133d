"""The server of the labeling page, over HTTP."""

import http.client
import json
import shutil
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.errors import InputError
from deepal_autoal.labeling.project import Project
from deepal_autoal.labeling.server.http_server import LARGEST_BODY, LabelServer
from deepal_autoal.labeling.server.session import Session
from tests.labeling.conftest import QUICK, ask, ids_of, truth

HEADERS = {"X-Deepal-Token": "local"}


class Client:
    """Requests to a server of project ``folder``."""

    def __init__(self, server):
        self.server, self.port = server, server.server_port

    def request(self, method, path, body=None, headers=HEADERS):
        """Return the status, the headers and the content of a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, None if body is None else json.dumps(body), dict(headers))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def get(self, path):
        status, _, content = self.request("GET", path)
        assert status == 200, content
        return json.loads(content)

    def post(self, path, **body):
        status, _, content = self.request("POST", path, body)
        return status, json.loads(content)

    def sample(self):
        """Return the state once there is a sample to label."""
        for _ in range(2000):
            state = self.get("/state")
            if state["sample"] or state["is_done"]:
                return state
            assert state["problem"] is None, state
            time.sleep(0.01)
        raise AssertionError("no batch was handed out")

    def label(self, count):
        """Label samples truthfully, and return their ids."""
        names = []
        for _ in range(count):
            name = self.sample()["sample"]["id"]
            status, content = self.post("/answer", id=name, label=truth(name))
            assert status == 200, content
            names.append(name)
        return names


@contextmanager
def serving(folder="p", host="127.0.0.1"):
    project = Project(Path(folder))
    with ExitStack() as stack:
        stack.enter_context(project.changing())
        session = Session(project)
        server = stack.enter_context(LabelServer(session, host, 0))
        session.start()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Client(server)
        finally:
            server.shutdown()
            thread.join()
            session.stop()
            session.join()


def labels_of(folder="p"):
    state = Project(Path(folder)).state
    return {state.ids[row]: label for row, label in state.labels.items()}


def test_answers_are_kept_at_once_and_batches_follow(deepal, project):
    first = ids_of(ask(deepal))
    with serving() as client:
        state = client.sample()
        assert (state["batch"], state["batch_size"], state["open"], state["pool"]) == (1, 6, 6, 40)
        assert state["sample"]["kind"] == "numbers" and len(state["sample"]["numbers"]) == 6
        names = []
        for count in range(1, 7):
            names += client.label(1)
            assert labels_of() == {name: truth(name) for name in names} and len(names) == count
        assert names == first
        later = client.label(12)
        state = client.sample()
        assert state["batch"] == 4 and state["labeled"] == 18 and not set(later) & set(names)
    batches = Project(Path("p")).state.batches
    assert [batch.how for batch in batches] == ["kmeans", "margin", "margin", "margin"]
    # The files are the batch's, for whoever goes on with them.
    for batch in batches:
        assert ids_of(f"p/batches/{batch.number}.csv") == [str(row) for row in batch.rows]
    assert ask(deepal) == "p/batches/4.csv"


def test_batch_is_chosen_while_the_last_one_is_labeled(deepal, project):
    """From the labels at half of the batch, and none of the samples that still wait."""
    with serving() as client:
        client.label(9)
        session = client.server.session
        for _ in range(2000):
            if session._ready is not None:
                break
            time.sleep(0.01)
        waiting = set(Project(Path("p")).state.open_rows)
        assert session._ready.number == 3 and len(waiting) == 3 and not waiting & set(session._ready.rows)
        client.label(3)
        assert client.get("/state")["sample"]["id"] == str(session.project.state.batches[-1].rows[0])


def test_undo_and_skip(project):
    with serving() as client:
        first, second = client.label(2)
        name = client.sample()["sample"]["id"]
        status, state = client.post("/answer", id=name, label=None)
        assert status == 200 and (state["labeled"], state["skipped"], state["open"]) == (2, 1, 3)
        for expected in (name, second):
            status, state = client.post("/undo")
            assert status == 200 and state["sample"]["id"] == expected
        assert (state["labeled"], state["skipped"], state["open"]) == (1, 0, 5) and set(labels_of()) == {first}
        assert client.label(2) == [second, name]
    # After a restart too; there are no traces of what was undone.
    with serving() as client:
        assert client.post("/undo")[1]["sample"]["id"] == name
    assert client.server.session.project.state.history.keys() == {int(first), int(second)}


def test_undo_goes_back_into_the_last_batch(project):
    with serving() as client:
        names = client.label(6)
        client.sample()
        status, state = client.post("/undo")
        assert status == 200 and state["sample"]["id"] == names[-1] and state["open"] == 7 and state["batch"] == 2
        client.label(1)
        assert client.sample()["open"] == 6
    for _ in range(3):
        with serving() as client:
            assert client.sample()["open"] == 6


def test_undo_leaves_answers_of_others_alone(deepal, project):
    with serving() as client:
        (name,) = client.label(1)
    Path("more.csv").write_text(f"id,label\n{name},zebra\n")
    assert deepal("label", "submit", "p", "more.csv")[0] == 0
    with serving() as client:
        assert not client.sample()["can_undo"]
        assert client.post("/undo") == (400, {"error": "there is no answer to undo"})
    assert labels_of() == {name: "zebra"}


def test_go_on_where_a_kill_left_it(project):
    with serving() as client:
        names = client.label(8)
        shutil.copytree("p", "killed")
        waiting = client.sample()["sample"]["id"]
    assert labels_of("killed") == {name: truth(name) for name in names}
    with serving("killed") as client:
        assert client.sample()["sample"]["id"] == waiting
        client.label(5)
    assert len(labels_of("killed")) == 13


def test_every_sample(deepal, project):
    with serving() as client:
        client.label(40)
        state = client.get("/state")
        assert state["is_done"] and state["sample"] is None and state["labeled"] == 40
    assert labels_of() == {str(row): truth(row) for row in range(40)}


def test_guess_only_on_request(project):
    with serving() as client:
        name = client.sample()["sample"]["id"]
        assert client.get(f"/guess?id={name}") == {"class": None, "probability": None, "is_coming": False}
        client.label(7)
        state = client.sample()
        assert "guess" not in json.dumps(state)
        for _ in range(2000):
            guess = client.get(f"/guess?id={state['sample']['id']}")
            if guess["class"]:
                break
            assert guess["is_coming"]
            time.sleep(0.01)
        assert guess["class"] in "abc" and 1 / 3 <= guess["probability"] <= 1


def test_second_window_does_not_overwrite(project):
    with serving() as client:
        (name,) = client.label(1)
        before = Path("p/journal.jsonl").read_bytes()
        # The same answer once more, as after a lost response.
        assert client.post("/answer", id=name, label=truth(name))[0] == 200
        status, content = client.post("/answer", id=name, label="other")
        assert status == 409 and content["state"]["sample"]["id"] != name and "question" not in content
        assert Path("p/journal.jsonl").read_bytes() == before


def test_new_class_is_confirmed(deepal, vectors):
    deepal("label", "init", "p", "--data", vectors, "--classes", "a,b", *QUICK)
    with serving() as client:
        name = client.sample()["sample"]["id"]
        status, content = client.post("/answer", id=name, label="aa")
        assert status == 409 and content == {"question": "'aa' is no class of this project; did you mean a?"}
        for label in ("", " a", "skip", "a\nb", "n/a"):
            status, content = client.post("/answer", id=name, label=label, is_confirmed=True)
            assert status == 400 and "error" in content, label
        assert labels_of() == {}
        status, state = client.post("/answer", id=name, label="aa", is_confirmed=True)
        assert status == 200 and state["classes"] == ["a", "b", "aa"]


def test_full_disk_takes_nothing(project, monkeypatch):
    from deepal_autoal.labeling import journal

    def full(descriptor, content):
        raise OSError(28, "No space left on device")

    with serving() as client:
        name = client.sample()["sample"]["id"]
        with monkeypatch.context() as patched:
            patched.setattr(journal.os, "write", full)
            status, content = client.post("/answer", id=name, label="a")
        assert status == 500 and "nothing was taken" in content["error"] and labels_of() == {}
        assert client.post("/answer", id=name, label="a")[0] == 200


def test_failure_of_a_batch_is_shown_and_tried_again(project, monkeypatch):
    from deepal_autoal.labeling.server import session

    def broken(*arguments, **options):
        raise InputError("the data are gone")

    with monkeypatch.context() as patched:
        patched.setattr(session, "Learning", broken)
        with serving() as client:
            while (state := client.get("/state"))["problem"] is None:
                time.sleep(0.01)
            assert state["problem"] == "the data are gone" and state["sample"] is None
            patched.undo()
            assert client.post("/again")[0] == 200
            client.label(1)


def test_other_sites_and_hosts_are_refused(project):
    with serving() as client:
        body = {"id": client.sample()["sample"]["id"], "label": "a"}
        own = f"127.0.0.1:{client.port}"
        refused = [
            {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": f"https://{own}"},
            {"Host": f"evil.example:{client.port}"}, {"Host": "127.0.0.1"}, {"Host": f"a@{own}"}, {"Host": ""},
            {"Host": f"192.168.1.20:{client.port}"}, {"Host": f"[:{client.port}"}, {"X-Deepal-Token": "other"},
            {"X-Deepal-Token": "ä"},
        ]  # fmt: skip
        for headers in refused:
            assert client.request("POST", "/answer", body, {**HEADERS, **headers})[0] == 403, headers
            assert client.request("GET", "/state", headers={**HEADERS, **headers})[0] == 403, headers
        assert client.request("POST", "/answer", body, {})[0] == 403, "a form of another site has no such header"
        assert client.request("OPTIONS", "/answer", headers={"Origin": "http://evil.example"})[0] == 501
        assert client.request("GET", "/", headers={"Host": "evil.example"})[0] == 403
        assert labels_of() == {}
        headers = {**HEADERS, "Origin": f"http://localhost:{client.port}", "Host": f"localhost:{client.port}"}
        assert client.request("POST", "/answer", body, headers)[0] == 200


def test_bad_requests_are_refused(project):
    with serving() as client:
        name = client.sample()["sample"]["id"]
        for body in (
            [],
            "x",
            {"id": name},
            {"id": 3, "label": "a"},
            {"id": name, "label": 1},
            {"id": "-1", "label": "a"},
        ):
            assert client.request("POST", "/answer", body)[0] == 400, body
        assert client.request("POST", "/answer", {"id": name, "label": "a" * LARGEST_BODY})[0] == 413
        for length, status in (("1" * 30_000, 413), ("-1", 411), ("x", 411), ("", 411)):
            assert client.request("POST", "/answer", headers={**HEADERS, "Content-Length": length})[0] == status
        assert client.request("POST", "/answer", headers={**HEADERS, "Transfer-Encoding": "chunked"})[0] == 411
        with socket.create_connection(("127.0.0.1", client.port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n")
            assert b" 431 " in raw.recv(100)
        assert client.request("DELETE", "/state")[0] == 501
        assert client.request("GET", "/answer")[0] == client.request("POST", "/state", {})[0] == 404
        assert labels_of() == {}


def test_images_by_id_only(deepal, tmp_path):
    (tmp_path / "images" / "in").mkdir(parents=True)
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save("images/in/ä & b.png")
    Image.fromarray(np.zeros((40, 3000), np.uint16)).save("images/deep.tif")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save("images/c.jpg")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save("secret.png")
    status, _, err = deepal("label", "init", "p", "--data", "images", *QUICK)
    assert status == 0, err
    (tmp_path / "images" / "unknown.png").write_bytes(Path("secret.png").read_bytes())
    with serving() as client:

        def get(name):
            return client.request("GET", f"/image?id={quote(name)}")

        status, headers, content = get("in/ä & b.png")
        assert status == 200 and headers["Content-Type"] == "image/png" and content.startswith(b"\x89PNG")
        status, headers, content = get("deep.tif")
        assert status == 200 and headers["Content-Type"] == "image/jpeg" and content.startswith(b"\xff\xd8")
        for name in ("../secret.png", str(tmp_path / "secret.png"), "in/../c.jpg", "./c.jpg", "unknown.png", "0", ""):
            status, _, content = get(name)
            assert status in (400, 404) and b"PNG" not in content, name
        for path in ("/../secret.png", "/images/c.jpg", "/%2e%2e/secret.png", "//c.jpg", "/image", "/image?id=a&id=b"):
            assert client.request("GET", path)[0] in (400, 404), path
        Path("images/c.jpg").write_bytes(b"damaged")
        status, _, content = get("c.jpg")
        assert status == 404 and "cannot be read" in json.loads(content)["error"]


def test_texts_and_arrays(deepal, tmp_path):
    Path("texts.txt").write_text("first <b>line</b>\nsecond line\nthird\n")
    np.save("arrays.npy", np.random.default_rng(0).integers(0, 255, (4, 8, 9, 1), np.uint8))
    np.save("wide.npy", np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32))
    for name in ("texts.txt", "arrays.npy", "wide.npy"):
        status, _, err = deepal("label", "init", name[:-4], "--data", name, *QUICK)
        assert status == 0, err
    with serving("texts") as client:
        texts = {name: client.server.session.shown.content(int(name))["text"] for name in "012"}
        assert texts == {"0": "first <b>line</b>", "1": "second line", "2": "third"}
        assert client.request("GET", "/image?id=0")[0] == 404
    with serving("arrays") as client:
        assert client.sample()["sample"]["kind"] == "image"
        assert client.request("GET", "/image?id=0")[1]["Content-Type"] == "image/png"
    with serving("wide") as client:
        sample = client.sample()["sample"]
        assert len(sample["numbers"]) == 200 and sample["left_out"] == 100 and sample["columns"] == []


def test_numbers_from_a_table_have_their_names(deepal, tmp_path):
    rows = "".join(f"{number},{number / 4},-1,\n" for number in range(4))
    Path("table.csv").write_text(f"id,Length <cm>,width,label\n{rows}")
    status, _, err = deepal("label", "init", "table", "--data", "table.csv", *QUICK)
    assert status == 0, err
    with serving("table") as client:
        sample = client.server.session.shown.content(1)
    assert (sample["columns"], sample["numbers"]) == (["length <cm>", "width"], ["0.25", "-1"])
    assert deepal("label", "next", "table", "-n", "4")[0] == 0
    assert "length &lt;cm&gt; 0.25, width -1" in Path("table/batches/1.html").read_text()


def test_page_stands_alone(project):
    with serving() as client:
        status, headers, content = client.request("GET", "/", headers={})
        assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"] and b"http" not in content.replace(
            b"https", b""
        )
        assert "Python" not in headers["Server"] and headers["Cache-Control"] == "no-store"


def test_in_the_network_only_with_the_token(project):
    with serving(host="0.0.0.0") as client:
        token = client.server.url.partition("#")[2]
        assert len(token) > 20 and client.request("GET", "/state")[0] == 403
        headers = {"X-Deepal-Token": token}
        assert client.request("GET", "/state", headers=headers)[0] == 200
        own = {**headers, "Host": f"192.168.1.20:{client.port}"}
        assert client.request("GET", "/state", headers=own)[0] == 200
        assert client.request("GET", "/state", headers={**headers, "Host": f"evil.example:{client.port}"})[0] == 403


def test_nothing_is_taken_after_the_end(project):
    with serving() as client:
        (name,) = client.label(1)
    session = client.server.session
    for request in (session.undo, lambda: session.answer(name, truth(name))):
        with pytest.raises(InputError, match="has been ended"):
            request()


def test_command(deepal, project, monkeypatch):
    monkeypatch.setattr("deepal_autoal.labeling.project._LOCK_SECONDS", 0.0)

    def interrupted(server):
        raise KeyboardInterrupt

    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with monkeypatch.context() as patched:
        patched.setattr(LabelServer, "serve_forever", interrupted)
        status, out, err = deepal("label", "serve", "p", "--port", "0", "--no-browser")
    assert status == 0 and out.startswith("Label at http://127.0.0.1:") and "0 of 40 samples" in out, err
    assert opened == []
    with serving() as client:
        client.sample()  # the commands below share this process's streams with the thread that prepares batches
        status, _, err = deepal("label", "serve", "p", "--port", str(client.port))
        assert status == 2 and "in use by another process" in err
        assert deepal("label", "status", "p")[0] == 0
        shutil.copytree("p", "q")
        for options in (["--port", str(client.port)], ["--port", "70000"], ["--host", "192.0.2.1"]):
            status, _, err = deepal("label", "serve", "q", *options)
            assert status == 2 and err.count("\n") == 1, err
