"""The thesis's tables: rows, columns and numbers, in percent."""

from typing import NamedTuple


class NaturalRow(NamedTuple):
    """A row of tables 2.1 to 2.3.

    Attributes:
        key (str): The config that pretrains it; work directories are named after it.
        name (str): As printed, with its epochs where two rows share a name.
        epochs (int, optional): Of pretraining, as printed.
        numbers (dict): Column -> number; a column that is empty there is left out.
    """

    key: str
    name: str
    epochs: int | None
    numbers: dict[str, float]


# Column -> title; data set -> its columns.
COLUMNS: dict[str, str] = {
    'box': 'COCO box AP',
    'mask': 'COCO mask AP',
    'voc': 'VOC mIoU',
    'cityscapes': 'Cityscapes mIoU',
}
COLUMNS_OF: dict[str, tuple[str, ...]] = {
    'coco': ('box', 'mask'),
    'voc': ('voc',),
    'cityscapes': ('cityscapes',),
}
# Table -> the data sets it is about.
TABLES: dict[str, tuple[str, ...]] = {
    '2.1': ('coco',),
    '2.2': ('voc', 'cityscapes'),
    '2.3': ('voc',),
}


def _rows(columns: tuple[str, ...], rows: dict[str, tuple]) -> list[NaturalRow]:
    return [
        NaturalRow(
            key,
            name,
            epochs,
            {
                column: number
                for column, number in zip(columns, numbers, strict=False)
                if number is not None
            },
        )
        for key, (name, epochs, *numbers) in rows.items()
    ]


NATURAL: dict[str, list[NaturalRow]] = {
    '2.1': _rows(
        ('box', 'mask'),
        {
            'supervised_r50_in1k': ('Supervised', 90, 39.6, 35.6),
            'mocov1_r50_in1k': ('MoCo', 200, 38.5, 35.1),
            'mocov2_r50_in1k': ('MoCo v2', 200, 40.4, 36.4),
            'byol_r50_in1k': ('BYOL', 300, 40.6, 37.5),
            'vader_r50_in1k': ('VADeR', 600, 39.2, 35.6),
            'densecl_r50_in1k': ('DenseCL', 200, 40.3, 36.4),
            'pixpro_r50_in1k': ('PixPro', 400, 41.4, None),
            'infomin_r50_in1k': ('InfoMin', 200, 40.6, 36.7),
            'detcon-b_r50_in1k': ('DetCon_B', 300, 40.5, 37.5),
            'r50_in1k_100e': ('R2O, 100 epochs', 100, 40.4, 37.3),
            'r50_in1k': ('R2O, 300 epochs', 300, 40.9, 37.8),
        },
    ),
    '2.2': _rows(
        ('voc', 'cityscapes'),
        {
            'supervised_r50_in1k': ('Supervised', 200, 67.7, 73.7),
            'mocov2_r50_in1k': ('MoCo v2', 200, 67.5, 74.5),
            'byol_r50_in1k': ('BYOL', 300, 73.1, 75.2),
            'densecl_r50_in1k': ('DenseCL', 200, 69.4, 75.7),
            'pixpro_r50_in1k': ('PixPro', 400, None, 77.2),
            'infomin_r50_in1k': ('InfoMin', 200, None, 75.6),
            'detcon-b_100e_r50_in1k': ('DetCon_B, 100 epochs', 100, 70.7, 73.1),
            'detcon-b_r50_in1k': ('DetCon_B, 300 epochs', 300, 73.8, 75.7),
            'r50_in1k_100e': ('R2O, 100 epochs', 100, 72.2, 73.9),
            'r50_in1k': ('R2O, 300 epochs', 300, 74.3, 75.6),
        },
    ),
    # ImageNet100; the thesis does not say for how many epochs.
    '2.3': _rows(
        ('voc',),
        {
            'r50_in100_k4': ('R2O, K = 4', None, 65.49),
            'r50_in100_k16': ('R2O, K = 16', None, 65.27),
            'r50_in100_k64': ('R2O, K = 64', None, 65.76),
        },
    ),
}

# Rows that the thesis does not have, by their names.
OTHERS: dict[str, str] = {'random_r50_in1k': 'Random', 'r50_in1k_official': 'R2O, public code'}

# Key, which names of configs and work directories end with -> the row's name.
REGIMENS: dict[str, str] = {
    'random': 'Random',
    'dino-in1k': 'DINO',
    'dino': 'DINO (CheXpert)',
    'dino-cxr-aug': 'DINO (CheXpert, chest augmentation)',
    'triangular': 'MeDINO (Triangular)',
    'average': 'MeDINO (Global average)',
    'deformable': 'MeDINO (Deformable)',
}
GUIDED = ('triangular', 'average', 'deformable')
PARTS: dict[str, str] = {'heart': 'Heart', 'left_lung': 'Left lung', 'right_lung': 'Right lung'}
DATASETS: dict[str, str] = {'jsrt': 'JSRT', 'montgomery': 'Montgomery'}

_ROWS_3_1 = ('dino-in1k', 'dino', 'dino-cxr-aug', 'triangular', 'average', 'deformable')


def _column(*values: float) -> dict[str, float]:
    return dict(zip(_ROWS_3_1, values, strict=False))


# Data set -> part -> regimen -> attention AP.
TABLE_3_1: dict[str, dict[str, dict[str, float]]] = {
    'jsrt': {
        'heart': _column(19.1, 5.7, 26.4, 54.5, 71.6, 89.9),
        'left_lung': _column(30.1, 22.0, 25.1, 59.2, 71.3, 88.3),
        'right_lung': _column(46.3, 27.0, 36.5, 45.6, 82.5, 87.3),
    },
    'montgomery': {
        'left_lung': _column(43.2, 16.5, 40.7, 40.0, 84.1, 90.0),
        'right_lung': _column(35.0, 15.8, 27.6, 54.8, 50.3, 88.4),
    },
}
# Regimen -> mean AUROC of six findings of CheXpert.
TABLE_3_2: dict[str, float] = {
    'random': 69.9,
    'dino-in1k': 83.8,
    'dino': 60.4,
    'dino-cxr-aug': 84.3,
    'triangular': 84.8,
    'average': 86.2,
    'deformable': 86.5,
}


def rows_of(table: str) -> list[tuple[str, str]]:
    """Key and name of each row of ``'3.1'`` or ``'3.2'``."""
    keys = _ROWS_3_1 if table == '3.1' else TABLE_3_2
    return [(key, REGIMENS[key]) for key in keys]
