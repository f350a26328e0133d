"""A stand-in for sentence-transformers, with the interface of the real one as far as it is used."""

import sys
import textwrap

PACKAGES = ("sentence_transformers", "huggingface_hub")

_SENTENCE_TRANSFORMERS = '''
    import os
    import zlib

    import huggingface_hub
    import numpy as np

    loaded, encoded = [], []


    class SentenceTransformer:
        def __init__(self, model_name_or_path=None, *, modules=None, device=None, cache_folder=None,
                     local_files_only=False, token=None):
            name = model_name_or_path
            repository = name if "/" in name else f"sentence-transformers/{name}"
            is_here = os.path.isdir(name) or huggingface_hub.try_to_load_from_cache(repository, "modules.json")
            if not is_here and (local_files_only or huggingface_hub.is_offline):
                raise OSError(f"We couldn't connect to the hub to load {model_name_or_path}\\nCheck your connection")
            loaded.append((model_name_or_path, device, local_files_only))
            self.seed = zlib.crc32(model_name_or_path.encode())

        def encode(self, sentences, prompt_name=None, prompt=None, batch_size=32, show_progress_bar=None,
                   output_value="sentence_embedding", precision="float32", convert_to_numpy=True):
            """Sums of random vectors of the words, another for each model."""
            assert isinstance(sentences, list) and all(isinstance(text, str) for text in sentences)
            encoded.append(len(sentences))
            vectors = np.zeros((len(sentences), 12), dtype=np.float32)
            for row, text in enumerate(sentences):
                for word in text.split():
                    vectors[row] += np.random.default_rng(zlib.crc32(word.encode()) + self.seed).normal(size=12)
            return vectors
'''

_HUGGINGFACE_HUB = """
    cached, is_offline = set(), False


    def try_to_load_from_cache(repo_id, filename, cache_dir=None, revision=None, repo_type=None):
        if repo_id.count("/") > 1:
            raise ValueError(f"Repo id must be in the form 'repo_name' or 'namespace/repo_name': {repo_id!r}")
        return f"/cache/{repo_id}/{filename}" if repo_id in cached else None
"""


class FakePackage:
    """The stand-in, installed until `remove`.

    Attributes:
        loaded: Of each model that was loaded: its name, the device, and whether a download was forbidden.
        encoded: Of each call of ``encode``: the number of texts.
    """

    def __init__(self, folder, monkeypatch):
        for name, source in zip(PACKAGES, (_SENTENCE_TRANSFORMERS, _HUGGINGFACE_HUB), strict=True):
            (folder / f"{name}.py").write_text(textwrap.dedent(source))
        self._forget()
        monkeypatch.syspath_prepend(str(folder))
        import huggingface_hub
        import sentence_transformers

        self._hub = huggingface_hub
        self.loaded, self.encoded = sentence_transformers.loaded, sentence_transformers.encoded

    def put_on_this_machine(self, *names):
        """As if these models had been downloaded."""
        self._hub.cached.update(name if "/" in name else f"sentence-transformers/{name}" for name in names)

    def go_offline(self):
        self._hub.is_offline = True

    def remove(self):
        self._forget()

    @staticmethod
    def _forget():
        for name in PACKAGES:
            sys.modules.pop(name, None)
