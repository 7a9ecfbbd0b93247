"""Strings as small integers, which are counted as fast as numbers."""

from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int64]
NULL = 0


class Vocabulary:
    """Strings numbered from 1 in the order of their first occurrence; the code of null is `NULL`."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self.letters = 0  # of all strings
        self._dictionary: pa.Array | None = None
        self._remap = np.zeros(1, np.int64)

    def __len__(self) -> int:
        """The number of codes, including that of null."""
        return len(self._codes) + 1

    def encode(self, column: pa.Array) -> Codes:
        """The code of each row of a column of any type that Arrow casts to strings; new strings are added."""
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        if self._dictionary is None or not column.dictionary.equals(self._dictionary):
            words = column.dictionary.cast(pa.string()).to_pylist()
            known = len(self._codes)
            codes = [NULL if word is None else self._codes.setdefault(word, len(self)) for word in words]
            self.letters += sum(map(len, islice(self._codes, known, None)))
            self._dictionary, self._remap = column.dictionary, np.array([*codes, NULL], np.int64)
        indices = column.indices
        if indices.null_count:
            indices = pc.fill_null(indices, -1)  # numpy's index of the last element, which is NULL
        codes_of_rows: Codes = self._remap[indices.to_numpy(zero_copy_only=False)]
        return codes_of_rows

    def decode(self, codes: npt.NDArray[np.signedinteger]) -> pa.DictionaryArray:
        """The strings of an array of codes, null for `NULL`."""
        indices = pa.array(codes - 1, pa.int32(), mask=codes == NULL)
        return pa.DictionaryArray.from_arrays(indices, pa.array(list(self._codes), pa.string()))
